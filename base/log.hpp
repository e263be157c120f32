// Lines for people on stderr, through spdlog.
#pragma once

#include <spdlog/spdlog.h>
