#include "shadow-mmu/flush/access_tracker.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace penumbra::mmu {
namespace {

bridge::RangeSet pages(std::uint64_t first, std::uint64_t count) {
    return bridge::RangeSet(HvpRange{Hvp{first}, count});
}

TEST(AccessTracker, GuardsMakeTheirPagesBusy) {
    AccessTracker tracker;
    EXPECT_FALSE(tracker.busy(pages(0, 100)));
    AccessTracker::Guard first = tracker.enter(Hvp{0});  // page 0 is a page like any other
    AccessTracker::Guard second = tracker.enter(Hvp{50});
    AccessTracker::Guard again = tracker.enter(Hvp{50});
    EXPECT_TRUE(tracker.busy(pages(0, 1)));
    EXPECT_FALSE(tracker.busy(pages(1, 49)));
    first.reset();
    first.reset();
    EXPECT_FALSE(tracker.busy(pages(0, 1)));
    second = AccessTracker::Guard{};
    EXPECT_TRUE(tracker.busy(pages(50, 1))) << "the other access to the page goes on";
    const AccessTracker::Guard moved = std::move(again);
    EXPECT_TRUE(tracker.busy(pages(50, 1)));
}

TEST(AccessTracker, AssigningEndsTheOldAccess) {
    AccessTracker tracker;
    AccessTracker::Guard guard = tracker.enter(Hvp{1});
    guard = tracker.enter(Hvp{2});
    EXPECT_FALSE(tracker.busy(pages(1, 1)));
    EXPECT_TRUE(tracker.busy(pages(2, 1)));
}

TEST(AccessTracker, DrainReturnsAtOnceWhenNobodyIsThere) {
    AccessTracker tracker;
    const AccessTracker::Guard elsewhere = tracker.enter(Hvp{7});
    tracker.drain(pages(8, 100));
}

TEST(AccessTracker, DrainWaitsForTheAccess) {
    AccessTracker tracker;
    std::atomic<bool> left{false};
    AccessTracker::Guard guard = tracker.enter(Hvp{7});
    std::jthread drainer([&] {
        tracker.drain(pages(0, 10));
        EXPECT_TRUE(left.load());
    });
    std::this_thread::yield();
    left.store(true);
    guard.reset();
}

// The protocol of the header: an access that saw the entry present is seen by the drain that follows the freeze.
TEST(AccessTracker, NobodyIsInsideAfterADrain) {
    AccessTracker tracker;
    std::atomic<bool> present{true};
    std::atomic<bool> stop{false};
    int content = 0;  // plain, so that ThreadSanitizer judges the protocol as well
    std::vector<std::jthread> readers;
    for (unsigned i = 0; i < 2; ++i) {
        readers.emplace_back([&] {
            while (!stop.load()) {
                const AccessTracker::Guard guard = tracker.enter(Hvp{3});
                if (present.load(std::memory_order_seq_cst)) {
                    EXPECT_EQ(content % 2, 0);
                }
            }
        });
    }
    for (unsigned i = 0; i < 2000; ++i) {
        present.store(false, std::memory_order_seq_cst);
        tracker.drain(pages(3, 1));
        content = content + 1;
        content = content + 1;
        present.store(true, std::memory_order_seq_cst);
    }
    stop.store(true);
}

TEST(AccessTrackerDeathTest, TooManyAccessesStopTheProcess) {
    EXPECT_DEATH(
        {
            AccessTracker tracker;
            std::vector<AccessTracker::Guard> guards;
            for (std::uint64_t i = 0; i < 129; ++i) guards.push_back(tracker.enter(Hvp{i}));
        },
        "too many accesses in flight");
}

}  // namespace
}  // namespace penumbra::mmu
