#include "shadow-mmu/flush/access_counts.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "shadow-mmu/flush/hold_times.hpp"

namespace penumbra::mmu {
namespace {

constexpr auto never = std::chrono::steady_clock::time_point::max();

AccessCounts counts(std::uint64_t pages) {
    Result<AccessCounts> made = AccessCounts::create(pages);
    PENUMBRA_ASSERT(made.has_value(), "no memory for a test");
    return std::move(*made);
}

TEST(AccessCounts, PagesAreBusyWhileSomebodyIsThere) {
    AccessCounts access = counts(5000);
    EXPECT_FALSE(access.busy(4999));
    EXPECT_TRUE(access.enter(4999));
    EXPECT_TRUE(access.enter(4999));
    EXPECT_TRUE(access.busy(4999));
    EXPECT_FALSE(access.busy(4998));
    access.leave(4999);
    EXPECT_TRUE(access.busy(4999));
    access.leave(4999);
    EXPECT_FALSE(access.busy(4999));
}

TEST(AccessCounts, TooManyOnOnePageAreRefusedAndChangeNothing) {
    AccessCounts access = counts(2);
    for (unsigned i = 0; i < AccessCounts::most_per_page; ++i) ASSERT_TRUE(access.enter(1));
    EXPECT_FALSE(access.enter(1));
    EXPECT_FALSE(access.busy(0));
    for (unsigned i = 0; i < AccessCounts::most_per_page; ++i) access.leave(1);
    EXPECT_FALSE(access.busy(1));
}

TEST(AccessCounts, WaitReturnsAtOnceWhenNobodyIsThere) {
    AccessCounts access = counts(200);
    ASSERT_TRUE(access.enter(7 + 64));  // same shard
    EXPECT_TRUE(access.wait_until_idle(7, never));
    access.leave(7 + 64);
}

TEST(AccessCounts, WaitEndsAtItsDeadline) {
    AccessCounts access = counts(1);
    ASSERT_TRUE(access.enter(0));
    EXPECT_FALSE(access.wait_until_idle(0, std::chrono::steady_clock::now() + std::chrono::milliseconds{2}));
    access.leave(0);
    EXPECT_TRUE(access.wait_until_idle(0, std::chrono::steady_clock::now()));
    EXPECT_FALSE(access.busy(0));
}

TEST(AccessCounts, WaitEndsWithTheLastAccess) {
    AccessCounts access = counts(200);
    ASSERT_TRUE(access.enter(7));
    ASSERT_TRUE(access.enter(7));
    std::atomic<int> left{0};
    std::vector<std::jthread> waiters;
    for (int i = 0; i < 3; ++i) {
        waiters.emplace_back([&] {
            EXPECT_TRUE(access.wait_until_idle(7, never));
            EXPECT_EQ(left.load(), 2);
        });
    }
    std::this_thread::yield();
    left = 1;
    access.leave(7);
    std::this_thread::yield();
    left = 2;
    access.leave(7);
}

// The protocol of the header: an access that saw the entry present is seen by the wait that follows the freeze.
TEST(AccessCounts, NobodyIsInsideAfterAWait) {
    AccessCounts access = counts(1);
    std::atomic<bool> present{true};
    std::atomic<bool> stop{false};
    int content = 0;  // plain, so that ThreadSanitizer judges the protocol as well
    std::vector<std::jthread> readers;
    for (unsigned i = 0; i < 2; ++i) {
        readers.emplace_back([&] {
            while (!stop.load()) {
                if (!present.load(std::memory_order_seq_cst)) continue;
                ASSERT_TRUE(access.enter(0));
                if (present.load(std::memory_order_seq_cst)) {
                    EXPECT_EQ(content % 2, 0);
                }
                access.leave(0);
            }
        });
    }
    for (unsigned i = 0; i < 2000; ++i) {
        present.store(false, std::memory_order_seq_cst);
        EXPECT_TRUE(access.wait_until_idle(0, never));
        content = content + 1;
        content = content + 1;
        present.store(true, std::memory_order_seq_cst);
    }
    stop.store(true);
}

TEST(AccessCountsDeathTest, AnAccessThatEndsTwiceStopsTheProcess) {
    EXPECT_DEATH(
        {
            AccessCounts access = counts(1);
            access.leave(0);
        },
        "ended twice");
}

TEST(HoldTimes, CountsThePagesOfOldHolds) {
    using namespace std::chrono_literals;
    const auto times = std::make_unique<HoldTimes>();
    EXPECT_EQ(times->pages_older_than(0ns), 0U);
    const HoldTimes::Place first = times->enter(3);
    const HoldTimes::Place second = times->enter(4);
    EXPECT_EQ(times->pages_older_than(0ns), 7U);
    EXPECT_EQ(times->pages_older_than(1h), 0U);
    times->leave(first, 3);
    EXPECT_EQ(times->pages_older_than(0ns), 4U);
    times->leave(second, 4);
    EXPECT_EQ(times->pages_older_than(0ns), 0U);
}

TEST(HoldTimes, WhatDoesNotFitCountsAsOld) {
    using namespace std::chrono_literals;
    const auto times = std::make_unique<HoldTimes>();
    std::vector<HoldTimes::Place> places;
    for (std::size_t i = 0; i < HoldTimes::capacity; ++i) places.push_back(times->enter(1));
    EXPECT_EQ(times->pages_older_than(1h), 0U);
    const HoldTimes::Place untimed = times->enter(5);
    EXPECT_EQ(untimed, HoldTimes::Place::untimed);
    EXPECT_EQ(times->pages_older_than(1h), 5U);
    times->leave(untimed, 5);
    for (const HoldTimes::Place place : places) times->leave(place, 1);
    EXPECT_EQ(times->pages_older_than(0ns), 0U);
    EXPECT_NE(times->enter(1), HoldTimes::Place::untimed);
}

}  // namespace
}  // namespace penumbra::mmu
