// When a reclaimer begins, and how far it goes.
#pragma once

#include <cstdint>

namespace penumbra::vmm {

struct ReclaimLimits {
    std::uint64_t high_water = 0;      ///< charged bytes from which on a background pass is due
    std::uint64_t low_water = 0;       ///< charged bytes that a pass goes down to
    std::uint64_t pool_share = 0;      ///< bytes the compressed tier may keep when there is a file behind it
    std::uint64_t limbo_target = 0;    ///< pages kept in limbo as the second chance
    std::uint64_t resident_floor = 0;  ///< pages that stay in the window

    [[nodiscard]] static ReclaimLimits of_budget(std::uint64_t bytes, std::uint64_t limbo_slots);
};

}  // namespace penumbra::vmm
