// The version that --version prints and every report carries.
#pragma once

#include <string_view>

namespace penumbra::vmm {

inline constexpr std::string_view penumbra_version = "0.1.0";

}  // namespace penumbra::vmm
