// Plays the actions of a plan.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/thread.hpp"
#include "tests/sim/world.hpp"

namespace penumbra::test::sim {

/// One actor; run() is its thread's body.
class Player {
public:
    /// `number` among the vCPUs, for a vCPU. `running` holds how many actions of each kind are in progress.
    Player(World& world, const Actor& actor, std::uint32_t number, Seen& seen, std::array<unsigned, op_count>& running)
        : world_(world), actor_(actor), number_(number), seen_(seen), running_(running) {}

    void run();
    [[nodiscard]] static ThreadRole role_of(Op op);
    /// It begins invalidations, which must have ended before the address space is released.
    [[nodiscard]] static bool invalidates(Op op);

private:
    void play(const Action& action);
    void vcpu(const Action& action);
    void vmm(const Action& action);
    void device(const Action& action);
    void use_device(mmu::DeviceTable& table, const Action& action, std::uint32_t page);
    void io(const Action& action);
    void io_two(const Action& action);
    void evict(const Action& action, bridge::Blockable blockable);
    void discard(const Action& action);
    void pack(const Action& action);
    void come_and_go(const Action& action);
    static void sabotage(const Action& action);

    template <class Table>
    [[nodiscard]] bool fault(Table& table, mmu::PageSource& source, std::uint32_t page, mmu::FaultAccess access);
    [[nodiscard]] std::optional<mmu::IoTable::Hold> hold(std::uint32_t page, std::uint32_t pages);
    void linger(std::uint32_t turns);
    void touch_held(const mmu::IoTable::Hold& hold, bool writes);
    [[nodiscard]] std::vector<Hvp> pages_of(const Action& action) const;
    [[nodiscard]] std::uint32_t page_of(std::uint32_t page) const { return page % world_.plan.pages; }

    World& world_;
    const Actor& actor_;
    std::uint32_t number_;
    Seen& seen_;
    std::array<unsigned, op_count>& running_;
    unsigned tries_ = 0;
};

}  // namespace penumbra::test::sim
