// Part of a benchmark in a process of its own.
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"

namespace penumbra::bench {

/// Runs this program with these arguments and answers what it wrote to standard output. An error unless it ends with 0.
[[nodiscard]] Result<std::string> run_self(const std::vector<std::string>& arguments);

}  // namespace penumbra::bench
