// What a simulation does: who takes part, and what each does in order. A seed makes one; a failing one is made smaller.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/host_memory.hpp"

namespace penumbra::test::sim {

enum class Op : std::uint8_t {
    vcpu_read,
    vcpu_write,
    vcpu_clear,  ///< writes zeroes: the page needs no keeping then
    vmm_touch,   ///< the VMM's own code, through the EPT table
    device_read,
    device_write,
    io_hold,      ///< a device's I/O on one or more pages
    io_again,     ///< the same, and a second hold of the same pages that outlives the first
    io_two,       ///< I/O that asks for another page while it holds one
    evict,        ///< some pages leave, whoever has to be waited for
    evict_now,    ///< some pages leave unless somebody would have to be waited for
    sweep,        ///< the reclaimer picks
    discard,      ///< some pages lose their content
    pack,         ///< limbo to memory tiers
    kick,         ///< the background pass
    want_slots,   ///< limbo emptied by the background pass
    come_and_go,  ///< another device subscribes, works, and leaves
    sabotage,     ///< the disk fails a few times
    count
};
inline constexpr std::size_t op_count = static_cast<std::size_t>(Op::count);
[[nodiscard]] std::string_view name_of(Op op);

/// More turns than these are time that passes.
inline constexpr std::uint32_t most_turns = 8;

struct Action {
    Op op = Op::vcpu_read;
    std::uint32_t page = 0;
    std::uint32_t pages = 1;  ///< how many: from `page` on, or spread by `spread`
    std::uint32_t spread = 0;
    std::uint32_t linger = 0;  ///< how long it keeps what it has, in turns
};

struct Actor {
    std::string name;
    std::vector<Action> actions;
};

struct Plan {
    std::uint64_t seed = 0;
    std::uint32_t pages = 8;
    std::uint32_t budget_pages = 8;
    std::uint32_t limbo_slots = 6;
    bool compress = true;
    bool file = false;
    HostMoods moods;
    std::vector<Actor> actors;
    bool early_release = false;  ///< the end comes while guests and devices still fault

    [[nodiscard]] std::size_t actions() const;
    [[nodiscard]] std::string text() const;
};

[[nodiscard]] Plan plan_of(std::uint64_t seed);

}  // namespace penumbra::test::sim
