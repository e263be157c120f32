// Who may write to a watched page, and that nobody sleeps for ever: guests, the VMM, devices, I/O of the kernel; at
// eviction, reset and the end.
#include <gtest/gtest.h>

#include <cstring>
#include <span>
#include <thread>

#include "base/planted.hpp"
#include "shadow-mmu/fault/fault_handler.hpp"
#include "shadow-mmu/shadow/shadow_bugs.hpp"
#include "tests/host/watch_machine.hpp"
#include "tests/support/dma_loop.hpp"

namespace penumbra::test {
namespace {

using namespace std::chrono_literals;
using mmu::ShadowOutcome;

constexpr std::uint64_t here = 1000;  // an entry of the second lowest table
constexpr Gfn table = WatchMachine::table_of(here);
constexpr Gfn other = WatchMachine::data + 7;

class WatchWrites : public testing::TestWithParam<vmm::TakeOutMode> {
protected:
    [[nodiscard]] static WatchMachineOptions options() { return {.take_out = GetParam()}; }
};

std::uint64_t stale_faults(WatchMachine& machine) {
    return machine.memory().ept().counters().stale_faults.get() +
           machine.memory().device_table()->counters().stale_faults.get();
}

void write_by_vmm(WatchMachine& machine, std::uint64_t page, std::uint64_t value) {
    EXPECT_TRUE(machine.memory().write(WatchMachine::gpa_of_entry(page), std::as_bytes(std::span(&value, 1))));
}

/// The write ended the watch, and was seen; nobody was called stale.
void expect_followed(WatchMachine& machine) {
    EXPECT_FALSE(machine.table().is_watched(table));
    EXPECT_EQ(machine.seen(here), other);
    EXPECT_TRUE(machine.table().is_watched(table));
    EXPECT_EQ(machine.table().stats().broken.get(), 1U);
    EXPECT_EQ(stale_faults(machine), 0U);
    EXPECT_EQ(machine.table().inconsistency(), "");
}

TEST_P(WatchWrites, ByTheGuest) {
    WatchMachine machine(options());
    ASSERT_EQ(machine.seen(here), WatchMachine::data + here);
    ASSERT_TRUE(machine.table().is_watched(table));
    machine.guest().store(machine.entry(here), entry_of(other));
    expect_followed(machine);
}

TEST_P(WatchWrites, ByTheVmm) {
    WatchMachine machine(options());
    ASSERT_EQ(machine.seen(here), WatchMachine::data + here);
    Thread vmm("vmm", ThreadRole::vmm, [&] { write_by_vmm(machine, here, entry_of(other)); });
    vmm.join();
    expect_followed(machine);
}

TEST_P(WatchWrites, ByADeviceInGuestPhysicalAddresses) {
    WatchMachine machine(options());
    ASSERT_EQ(machine.seen(here), WatchMachine::data + here);
    Thread device("device", ThreadRole::device, [&] {
        mmu::DeviceTable& addresses = *machine.memory().device_table();
        const auto outcome =
            mmu::handle_fault(addresses, machine.memory().window_source(), table, mmu::FaultAccess::write);
        ASSERT_TRUE(outcome);
        const auto access = addresses.access(table);
        ASSERT_TRUE(access);
        const std::uint64_t value = entry_of(other);
        std::memcpy(pointer_to(access->page) + here % 512 * 8, &value, sizeof value);
    });
    device.join();
    expect_followed(machine);
}

TEST_P(WatchWrites, WaitForAccessesInFlightAndForNothingElse) {
    WatchMachine machine(options());
    auto held = machine.reach(here, user_reads);
    ASSERT_TRUE(held);
    machine.guest().begin(machine.entry(here), entry_of(other));
    // A VMM thread that sleeps with the page held, and an eviction that waits for it, and for what it waits for.
    Thread vmm("vmm", ThreadRole::vmm, [&] { write_by_vmm(machine, here + 1, entry_of(other)); });
    Thread host("host", ThreadRole::vmm, [&] { (void)machine.evict(table); });
    std::this_thread::sleep_for(20ms);  // the more of them are under way the better
    EXPECT_FALSE(machine.guest().done());
    held.reset();
    machine.guest().finish();
    vmm.join();
    host.join();
    EXPECT_EQ(machine.seen(here), other);
    EXPECT_EQ(machine.seen(here + 1), other);
    EXPECT_EQ(stale_faults(machine), 0U);
    EXPECT_EQ(machine.errors(), 0U);
}

TEST_P(WatchWrites, AProtectedPageLeavesAndComesBackUnprotected) {
    WatchMachine machine(options());
    for (unsigned round = 0; round < 50; ++round) {
        const Gfn page = WatchMachine::data + round;
        machine.guest().store(machine.entry(here), entry_of(page));
        ASSERT_EQ(machine.seen(here), page);
        ASSERT_TRUE(machine.evict(table));
        EXPECT_FALSE(machine.table().is_watched(table));
        const std::uint64_t told = machine.table().stats().writes.get();
        machine.guest().store(machine.entry(here + 1), entry_of(page));
        EXPECT_EQ(machine.table().stats().writes.get(), told);
        EXPECT_EQ(machine.seen(here + 1), page);
        machine.guest().store(machine.entry(here + 1), entry_of(page + 1));
        ASSERT_TRUE(machine.evict(table)) << "a page whose watch was just ended leaves";
        EXPECT_EQ(machine.seen(here + 1), page + 1);
    }
    EXPECT_EQ(machine.table().inconsistency(), "");
}

TEST_P(WatchWrites, ResetWithWatchesOn) {
    WatchMachine machine(options());
    for (std::uint64_t i = 0; i < WatchMachine::pages; i += 100) ASSERT_EQ(machine.seen(i), WatchMachine::data + i);
    machine.memory().discard_everything();
    EXPECT_EQ(machine.table().watched_tables(), 0U);
    EXPECT_EQ(machine.table().inconsistency(), "");
    EXPECT_EQ(machine.seen(here), std::nullopt);  // zeros map nothing
    machine.build();
    EXPECT_EQ(machine.seen(here), WatchMachine::data + here);
}

TEST_P(WatchWrites, APageInDirectIoIsNotWatched) {
    WatchMachineOptions with_dma = options();
    with_dma.dma = true;
    WatchMachine machine(with_dma);
    mmu::IoTable& io = *machine.memory().io_table();
    machine.bring_in(table);
    ASSERT_TRUE(mmu::handle_fault(io, machine.memory().window_source(), table, mmu::FaultAccess::write));
    auto hold = io.hold(table, 1, mmu::HoldFor::io);
    ASSERT_TRUE(hold);
    for (const Gfn upper : {WatchMachine::root, WatchMachine::root + 1, WatchMachine::root + 2}) {
        machine.bring_in(upper);
    }
    machine.bring_in(WatchMachine::data + here);
    const mmu::ShadowAnswer answer = machine.table().fault(machine.context(), WatchMachine::address(here), user_reads);
    ASSERT_EQ(answer.outcome, ShadowOutcome::pages_wanted);
    ASSERT_EQ(answer.wanted().size(), 1U);
    EXPECT_EQ(answer.wanted().front().gfn, table);
    EXPECT_FALSE(machine.table().is_watched(table));
    const std::uint64_t told = machine.table().stats().writes.get();
    machine.guest().store(machine.entry(here), entry_of(other));
    EXPECT_EQ(machine.table().stats().writes.get(), told) << "nothing may be protected";
    hold.reset();
    EXPECT_EQ(machine.seen(here), other);
    EXPECT_TRUE(machine.table().is_watched(table));
}

#if defined(PENUMBRA_TEST_SWITCHES)

TEST_P(WatchWrites, GoOnlyAfterWhatTheyMakeStaleIsGone) {
    for (const auto bug : {mmu::ShadowBug::none, mmu::ShadowBug::unwatch_before_zap}) {
        WatchMachine machine(options());
        const auto aside = machine.table().open_context({.root = address_of(WatchMachine::root), .mode = {}});
        auto held = machine.reach(here, user_reads);
        ASSERT_TRUE(held);
        const mmu::PlantedShadowBug planted_bug(bug);
        // A zap that waits for the access keeps the store's own zap from beginning.
        Thread zap("zap", ThreadRole::vmm, [&] { machine.table().close_context(*aside); });
        std::this_thread::sleep_for(10ms);
        machine.guest().begin(machine.entry(here), entry_of(other));
        const bool went_on = becomes_true([&] { return machine.guest().done(); },
                                          bug == mmu::ShadowBug::none ? 50ms : std::chrono::milliseconds{10s});
        EXPECT_EQ(went_on, bug != mmu::ShadowBug::none);
        held.reset();
        machine.guest().finish();
    }
}

TEST_P(WatchWrites, BetweenAWalkAndItsWatchAreSeen) {
    constexpr std::uint64_t there = here + 1024;  // another table's
    for (const auto bug : {mmu::ShadowBug::none, mmu::ShadowBug::skip_revalidation}) {
        const mmu::PlantedShadowBug planted_bug(bug);
        bool missed = false;
        for (std::uint64_t page = there; page < there + 8 && !missed; ++page) {
            WatchMachine machine(options());
            const auto aside = machine.table().open_context({.root = address_of(WatchMachine::root), .mode = {}});
            machine.bring_in(WatchMachine::table_of(there));
            // A zap that waits for this access keeps the fault from watching: it has walked already.
            auto held = machine.reach(here, user_reads);
            Thread zap("zap", ThreadRole::vmm, [&] { machine.table().close_context(*aside); });
            std::this_thread::sleep_for(10ms);
            Thread device("device", ThreadRole::device, [&] { (void)machine.seen(page); });
            std::this_thread::sleep_for(30ms);
            machine.guest().begin(machine.entry(page), entry_of(other));
            // On a busy host the device may be past the watch, or the zap behind it: then the store waits for the
            // access.
            (void)becomes_true([&] { return machine.guest().done(); }, 1s);
            held.reset();
            machine.guest().finish();
            device.join();
            missed = machine.seen(page) != other;
        }
        EXPECT_EQ(missed, bug != mmu::ShadowBug::none);
    }
}

TEST_P(WatchWrites, AreSeenAfterTheirTableLeftAndCameBack) {
    for (const auto bug : {mmu::ShadowBug::none, mmu::ShadowBug::watch_survives_eviction}) {
        WatchMachine machine(options());
        const mmu::PlantedShadowBug planted_bug(bug);
        ASSERT_EQ(machine.seen(here), WatchMachine::data + here);
        ASSERT_TRUE(machine.evict(table));
        ASSERT_EQ(machine.seen(here), WatchMachine::data + here);
        machine.guest().store(machine.entry(here), entry_of(other));
        EXPECT_EQ(machine.seen(here) == other, bug == mmu::ShadowBug::none);
    }
}

/// What takes a page out by copying protects it until it is gone. Its writers are told like those of watched pages, and
/// may not be let through.
TEST_P(WatchWrites, NoneIsLostWhileItsPageIsTakenOut) {
    constexpr Gfn page = WatchMachine::data;
    WatchMachine machine(options());
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> lost{0};
    Thread guest("guest", ThreadRole::vcpu, [&] {
        const InGuestScope inside(*ThreadRegister::self());
        const std::atomic_ref counter(*machine.word(page, 2));
        for (std::uint64_t stored = 0; !stop.load();) {
            if (counter.load() != stored) lost.fetch_add(1);
            counter.store(++stored);
        }
    });
    {
        const Planted wide(Plant::delay_before_install);
        for (unsigned round = 0; round < 50; ++round) {
            machine.bring_in(page);
            (void)machine.evict(page);
        }
    }
    stop.store(true);
    guest.join();
    EXPECT_EQ(lost.load(), 0U);
    if (GetParam() == vmm::TakeOutMode::copy) {
        EXPECT_GT(machine.table().stats().writes.get(), 0U) << "writes met no copy";
    }
}

TEST_P(WatchWrites, TheEndWakesWhoeverSleeps) {
    WatchMachine machine(options());
    ASSERT_EQ(machine.seen(here), WatchMachine::data + here);
    const Planted dead(Plant::dead_worker, 1);  // the guest's message is read by nobody who goes on
    machine.guest().begin(machine.entry(here), entry_of(other));
    ASSERT_TRUE(becomes_true([&] { return machine.errors() == 1; }));
    Thread vmm("vmm", ThreadRole::vmm, [&] { write_by_vmm(machine, here + 1, entry_of(other)); });
    std::this_thread::sleep_for(20ms);
    EXPECT_FALSE(machine.guest().done());
    machine.memory().stop_paging();
    machine.guest().finish();
    vmm.join();
    machine.memory().abandon_window();
    EXPECT_EQ(machine.table().watched_tables(), 0U);
}

#endif

std::string name_of_mode(const testing::TestParamInfo<vmm::TakeOutMode>& mode) {
    return mode.param == vmm::TakeOutMode::move ? "Move" : "Copy";
}
INSTANTIATE_TEST_SUITE_P(TakeOut, WatchWrites, testing::Values(vmm::TakeOutMode::move, vmm::TakeOutMode::copy),
                         name_of_mode);

}  // namespace
}  // namespace penumbra::test
