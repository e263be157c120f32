#include "shadow-mmu/tables/io_table.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/planted.hpp"
#include "notifier-bridge/address_space.hpp"
#include "tests/support/dma_loop.hpp"
#include "tests/support/fake_dma_machine.hpp"

namespace penumbra::test {
namespace {

using namespace std::chrono_literals;
using bridge::Blockable;
using mmu::FaultOutcome;
using mmu::HoldFor;
using mmu::IoTable;

/// The fake machine's table, its entries faulted in by hand.
class IoTableTest : public testing::Test {
protected:
    static constexpr Gfn first = FakeDmaMachine::low_first;

    void fault(GfnRange range) {
        mmu::WindowSource source(machine_.ept(), machine_.pager());
        for (Gfn gfn = range.first(); gfn < range.end(); ++gfn) {
            const auto outcome = mmu::handle_fault(table_, source, gfn, mmu::FaultAccess::write);
            ASSERT_TRUE(outcome && *outcome == FaultOutcome::installed);
        }
    }
    IoTable::Hold hold(Gfn gfn, std::uint64_t pages = 1) {
        std::optional<IoTable::Hold> held = table_.hold(gfn, pages);
        PENUMBRA_ASSERT(held.has_value(), "a page that can be held");
        return std::move(*held);
    }

    FakeDmaMachine machine_;
    IoTable& table_ = machine_.table();
};

TEST_F(IoTableTest, AHoldNeedsAnEntry) {
    EXPECT_FALSE(table_.hold(first));
    EXPECT_FALSE(table_.hold(FakeDmaMachine::hole));
    EXPECT_FALSE(table_.hold(Gfn{~std::uint64_t{0} >> 12}));
    fault({first, 1});
    EXPECT_FALSE(table_.in_use(machine_.host(first)));
    {
        const IoTable::Hold held = hold(first);
        EXPECT_EQ(held.pages(), (HvpRange{machine_.host(first), 1}));
        EXPECT_TRUE(table_.in_use(machine_.host(first)));
        EXPECT_FALSE(table_.in_use(machine_.host(first) + 1));
    }
    EXPECT_FALSE(table_.in_use(machine_.host(first)));
    EXPECT_FALSE(table_.in_use(machine_.window().pages().end()));
    EXPECT_EQ(table_.stats().holds.get(), 1U);
}

TEST_F(IoTableTest, ARunEndsAtTheFirstAbsentPageAndAtTheSlot) {
    fault({first, 10});
    fault({first + 11, 3});
    EXPECT_EQ(hold(first, 64).pages().pages(), 10U);
    EXPECT_EQ(hold(first + 2, 3).pages(), (HvpRange{machine_.host(first + 2), 3}));
    EXPECT_FALSE(table_.hold(first + 10, 2));
    const Gfn last = first + (FakeDmaMachine::slot_pages - 1);
    fault({last, 1});
    EXPECT_EQ(hold(last, 5).pages().pages(), 1U);
    for (std::uint64_t page = 0; page < FakeDmaMachine::slot_pages; ++page) {
        EXPECT_FALSE(table_.in_use(machine_.host(first + page)));
    }
}

TEST_F(IoTableTest, MovingAHoldMovesTheDuty) {
    fault({first, 2});
    IoTable::Hold one = hold(first);
    IoTable::Hold two = hold(first + 1);
    one = std::move(two);
    EXPECT_FALSE(table_.in_use(machine_.host(first)));
    EXPECT_TRUE(table_.in_use(machine_.host(first + 1)));
    EXPECT_TRUE(one);
    EXPECT_FALSE(two);  // NOLINT(bugprone-use-after-move): a hold that was moved from holds nothing
    one.release();
    one.release();
    EXPECT_FALSE(table_.in_use(machine_.host(first + 1)));
}

TEST_F(IoTableTest, AStartThatMayNotBlockLeavesAllAsItWas) {
    fault({first, 8});
    {
        const IoTable::Hold held = hold(first + 5);
        EXPECT_FALSE(machine_.evict({first, 8}, Blockable::no)) << "it would have had to wait";
        EXPECT_EQ(table_.sequence().active(), 0U);
        for (std::uint64_t i = 0; i < 8; ++i) EXPECT_TRUE(table_.hold(first + i)) << i;
        EXPECT_EQ(machine_.evict({first, 5}, Blockable::no), 5U) << "the held page is none of these";
    }
    EXPECT_EQ(machine_.evict({first + 5, 3}, Blockable::no), 3U);
    EXPECT_EQ(table_.stats().waits.get(), 0U);
}

TEST_F(IoTableTest, AStartWaitsForTheLastHold) {
    fault({first, 8});
    IoTable::Hold held = hold(first + 1, 3);
    std::optional<IoTable::Hold> more = held.again(HoldFor::io);
    ASSERT_TRUE(more);
    std::atomic<bool> out{false};
    std::jthread evictor([&] {
        EXPECT_EQ(machine_.evict({first, 8}), 8U);
        out = true;
    });
    ASSERT_TRUE(becomes_true([&] { return !table_.present(first + 1); }));
    EXPECT_FALSE(table_.hold(first + 1)) << "nobody new gets in";
    EXPECT_FALSE(table_.hold(first + 7));
    std::optional<IoTable::Hold> third = held.again(HoldFor::access);
    EXPECT_TRUE(third) << "who is in may stay in";
    held.release();
    std::jthread([&third] { third.reset(); }).join();  // any thread
    std::this_thread::sleep_for(10ms);
    EXPECT_FALSE(out) << "it left under a hold";
    EXPECT_TRUE(machine_.window().present(machine_.host(first + 1)));
    more.reset();
    evictor.join();
    EXPECT_TRUE(out);
    EXPECT_EQ(table_.stats().waits.get(), 1U);
    EXPECT_GE(table_.stats().wait_ns.get(), 10'000'000U);
}

TEST(IoTablePatience, AStartWaitsWithNothingFrozenAtFirst) {
    FakeDmaMachine machine(1h);
    DmaLoop device(machine.service());
    constexpr Gfn page = FakeDmaMachine::low_first;
    std::optional<vmm::DmaHold> held;
    (void)device.with_page(page, [&](vmm::DmaClient& client, vmm::DmaGrant) {
        held = std::move(*client.hold(address_of(page), 1));
        return 0;
    });
    std::jthread evictor([&] { EXPECT_EQ(machine.evict({page, 4}), 2U); });
    std::this_thread::sleep_for(5ms);
    // A neighbour in the same region still comes, and the page itself can be had.
    const auto both = device.with_page(page + 1, [&](vmm::DmaClient& client, vmm::DmaGrant grant) {
        return grant == vmm::DmaGrant::present && client.load16(address_of(page)).has_value();
    });
    EXPECT_TRUE(both);
    held.reset();
    evictor.join();
    EXPECT_FALSE(machine.table().present(page));
    EXPECT_EQ(machine.table().sequence().active(), 0U);
}

TEST(IoTablePatience, AStartThatIsKeptWaitingFreezesInTheEnd) {
    FakeDmaMachine machine(5ms);
    DmaLoop device(machine.service(), DmaLoop::Start::later);
    constexpr Gfn page = FakeDmaMachine::low_first;
    machine.write(address_of(page), std::as_bytes(std::span{"x", 1}));
    std::optional<vmm::DmaHold> held = std::move(*device.client().hold(address_of(page), 1));
    std::jthread evictor([&] { EXPECT_EQ(machine.evict({page, 1}), 1U); });
    // Overlapping holds, so that the page is never idle.
    const bool frozen = becomes_true([&] {
        auto next = device.client().hold(address_of(page), 1);
        if (!next) return true;
        held = std::move(*next);
        return false;
    });
    EXPECT_TRUE(frozen);
    held.reset();
}

TEST_F(IoTableTest, AStartWaitsForItsOwnPagesOnly) {
    fault({first, 8});
    const IoTable::Hold held = hold(first + 4);
    EXPECT_EQ(machine_.evict({first, 4}), 4U);
    EXPECT_EQ(machine_.evict({first + 5, 3}), 3U);
    EXPECT_EQ(table_.stats().waits.get(), 0U);
}

TEST_F(IoTableTest, ReleaseWaitsForHolds) {
    fault({first, 2});
    IoTable::Hold held = hold(first);
    std::atomic<bool> released{false};
    std::jthread releaser([&] {
        machine_.space().release();
        released = true;
    });
    ASSERT_TRUE(becomes_true([&] { return !table_.present(first); }));
    std::this_thread::sleep_for(5ms);
    EXPECT_FALSE(released);
    held.release();
    releaser.join();
    EXPECT_FALSE(table_.hold(first + 1));
}

TEST_F(IoTableTest, ManyHoldsOfOnePageAreRefusedNotFatal) {
    fault({first, 1});
    std::vector<IoTable::Hold> holds;
    for (unsigned i = 0; i < mmu::AccessCounts::most_per_page; ++i) holds.push_back(hold(first));
    EXPECT_FALSE(table_.hold(first));
    EXPECT_FALSE(holds.front().again(HoldFor::access));
    holds.pop_back();
    EXPECT_TRUE(table_.hold(first));
    holds.clear();
    EXPECT_FALSE(table_.in_use(machine_.host(first)));
}

TEST_F(IoTableTest, AFailedRepeatOfARunLeavesNothingHeld) {
    fault({first, 3});
    const IoTable::Hold run = hold(first, 3);
    std::vector<IoTable::Hold> holds;
    for (unsigned i = 1; i < mmu::AccessCounts::most_per_page; ++i) holds.push_back(hold(first + 2));
    EXPECT_FALSE(run.again(HoldFor::io));
    EXPECT_EQ(table_.pages_held_longer_than(0ns), 0U);
    holds.clear();
    EXPECT_TRUE(run.again(HoldFor::io));
}

TEST_F(IoTableTest, OnlyIoIsTimed) {
    fault({first, 4});
    const IoTable::Hold access = hold(first);
    EXPECT_EQ(table_.pages_held_longer_than(0ns), 0U);
    {
        const std::optional<IoTable::Hold> io = table_.hold(first, 4, HoldFor::io);
        ASSERT_TRUE(io);
        EXPECT_EQ(table_.pages_held_longer_than(0ns), 4U);
        EXPECT_EQ(table_.pages_held_longer_than(1h), 0U);
    }
    EXPECT_EQ(table_.pages_held_longer_than(0ns), 0U);
}

#if defined(PENUMBRA_TEST_SWITCHES)

TEST_F(IoTableTest, AHoldThatIsNotWaitedForIsNoticed) {
    const Planted planted(Plant::skip_io_drain);
    fault({first, 1});
    const IoTable::Hold held = hold(first);
    EXPECT_EQ(machine_.evict({first, 1}), 1U);
    EXPECT_EQ(*pointer_to(held.pages().first()), poison) << "the page is gone under the hold";
}

#endif

}  // namespace
}  // namespace penumbra::test
