// Sets of host pages that zaps drain.
#pragma once

#include "notifier-bridge/invalidation.hpp"

namespace penumbra::mmu {

/// Accesses are short: waiting for all of them is cheaper than naming what a subtree maps.
[[nodiscard]] inline bridge::RangeSet everything() {
    return bridge::RangeSet{HvpRange{Hvp{0}, std::uint64_t{1} << (64 - page_shift)}};
}

}  // namespace penumbra::mmu
