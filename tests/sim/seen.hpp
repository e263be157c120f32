// How often each kind of action ran, and each pair of kinds at the same time.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/sim/plan.hpp"

namespace penumbra::test::sim {

struct Seen {
    std::array<std::uint64_t, op_count> runs{};
    std::array<std::array<std::uint64_t, op_count>, op_count> pairs{};  // lower index first
    std::uint64_t steps = 0;
    std::uint64_t seeds = 0;
    std::uint64_t put_in = 0;
    std::uint64_t taken = 0;
    std::uint64_t kept = 0;
    std::uint64_t refused = 0;
    std::uint64_t dropped = 0;
    std::uint64_t rescued = 0;
    std::uint64_t swapped_in = 0;
    std::uint64_t zero_pages = 0;
    std::uint64_t would_block = 0;
    std::uint64_t retries = 0;
    std::uint64_t waits_for_room = 0;

    void add(const Seen& other);
    /// Kinds, and pairs of kinds that can meet, that never ran.
    [[nodiscard]] std::vector<std::string> missing() const;
    [[nodiscard]] std::string text() const;
};

/// Two kinds that one run can have at once: of two actors, or of one kind with two actors.
[[nodiscard]] bool can_meet(Op a, Op b);

}  // namespace penumbra::test::sim
