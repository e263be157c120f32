// The bare loops that the fault path is compared with.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/common/bare_loop.hpp"

namespace penumbra::bench {

enum class LoopSet : std::uint8_t { compared, with_experiments };

/// First the three whose best is the baseline, then those that only explain.
[[nodiscard]] std::vector<BareLoopOptions> bare_loops(LoopSet set);
[[nodiscard]] std::string settings_of(const BareLoopOptions& options);

}  // namespace penumbra::bench
