// A machine in a simulation: production's bridge, tables, tiers, reclaimer and pager over simulated memory.
#pragma once

#include <memory>
#include <optional>

#include "notifier-bridge/address_space.hpp"
#include "shadow-mmu/fault/window_source.hpp"
#include "shadow-mmu/tables/device_table.hpp"
#include "shadow-mmu/tables/ept_table.hpp"
#include "shadow-mmu/tables/io_table.hpp"
#include "tests/sim/host_memory.hpp"
#include "tests/sim/model.hpp"
#include "tests/sim/plan.hpp"
#include "tests/sim/seen.hpp"
#include "tests/sim/threads.hpp"
#include "vmm/memory/pager.hpp"
#include "vmm/memory/pager_state.hpp"
#include "vmm/memory/reclaim.hpp"

namespace penumbra::test::sim {

/// Two slots of guest memory; the window straddles two of the sequence's 2 MiB regions. Built, used and destroyed by
/// simulated threads.
class World {
public:
    World(const Plan& plan, Threads& threads, Model& model);
    ~World();
    World(const World&) = delete;
    World& operator=(const World&) = delete;

    [[nodiscard]] static HvpRange window_of(const Plan& plan);
    [[nodiscard]] static mmu::Memslots slots_of(const Plan& plan);
    [[nodiscard]] static mmu::NodeArena arena();
    [[nodiscard]] static std::unique_ptr<vmm::PagerState> state_of(const Plan& plan);

    /// Brings every page in and compares it, when nobody else is at work.
    void verify_all();
    /// As MemorySystem takes itself down.
    void stop_paging();
    [[nodiscard]] bool stopping() const { return state->stopping.load(std::memory_order_relaxed); }
    /// What a traced address belongs to.
    [[nodiscard]] std::string describe(const void* object) const;

    const Plan& plan;
    Threads& threads;
    Model& model;
    HostMemory host;
    std::unique_ptr<vmm::PagerState> state;
    bridge::AddressSpace space;
    mmu::EptTable ept;
    mmu::DeviceTlb tlb;
    mmu::DeviceTable device;
    mmu::IoTable io;
    bridge::Subscription ept_subscription;
    bridge::Subscription device_subscription;
    bridge::Subscription io_subscription;
    bridge::Subscription model_subscription;
    vmm::Reclaimer reclaimer;
    std::unique_ptr<vmm::Pager> pager;
    mmu::WindowSource window_source;
};

}  // namespace penumbra::test::sim
