#include "notifier-bridge/interval_subscription.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <thread>

#include "base/callback_scope.hpp"

namespace penumbra::bridge {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

constexpr std::uint64_t region_pages = 512;

RangeSet pages(std::uint64_t first, std::uint64_t count = 1) { return RangeSet(HvpRange{Hvp{first}, count}); }

std::optional<IntervalSubscription::Sequence> try_begin(IntervalSubscription& intervals, std::uint64_t page) {
    return intervals.read_begin(Hvp{page}, steady_clock::now());
}

TEST(IntervalSubscription, QuietSampleStaysGood) {
    IntervalSubscription intervals;
    const auto sample = try_begin(intervals, 7);
    ASSERT_TRUE(sample);
    EXPECT_FALSE(intervals.read_retry(Hvp{7}, *sample));
    EXPECT_EQ(intervals.active(), 0U);
}

TEST(IntervalSubscription, RetrySeesBeginAndEnd) {
    IntervalSubscription intervals;
    const auto sample = try_begin(intervals, 7);
    ASSERT_TRUE(sample);
    intervals.hold_off(pages(7));
    EXPECT_TRUE(intervals.read_retry(Hvp{7}, *sample));
    EXPECT_EQ(intervals.active(), 1U);
    intervals.lift(pages(7));
    EXPECT_TRUE(intervals.read_retry(Hvp{7}, *sample)) << "a whole invalidation passed since the sample";
    EXPECT_EQ(intervals.active(), 0U);
    const auto newer = try_begin(intervals, 7);
    ASSERT_TRUE(newer);
    EXPECT_FALSE(intervals.read_retry(Hvp{7}, *newer));
}

TEST(IntervalSubscription, OtherRegionsAreNotHeldOff) {
    IntervalSubscription intervals;
    const auto far = try_begin(intervals, 3 * region_pages);
    ASSERT_TRUE(far);
    intervals.hold_off(pages(0, region_pages));
    EXPECT_FALSE(intervals.read_retry(Hvp{3 * region_pages}, *far));
    EXPECT_TRUE(try_begin(intervals, region_pages));
    EXPECT_FALSE(try_begin(intervals, region_pages - 1));
    intervals.lift(pages(0, region_pages));
}

TEST(IntervalSubscription, RangesOfOneRegionCountOnce) {
    IntervalSubscription intervals;
    RangeSet two;
    two.add(HvpRange{Hvp{1}, 2});
    two.add(HvpRange{Hvp{100}, 2});
    intervals.hold_off(two);
    EXPECT_EQ(intervals.active(), 1U);
    intervals.lift(two);
    const RangeSet across = pages(region_pages - 1, 2);
    intervals.hold_off(across);
    EXPECT_EQ(intervals.active(), 2U);
    intervals.lift(across);
    EXPECT_EQ(intervals.active(), 0U);
}

// A nested pair ends, the outer one is still open: readers wait for the last (mm/mmu_notifier.c, mn_itree_inv_end).
TEST(IntervalSubscription, NestedPairsHoldOffUntilTheLastEnds) {
    IntervalSubscription intervals;
    intervals.hold_off(pages(0, 100));
    intervals.hold_off(pages(10, 5));
    EXPECT_EQ(intervals.active(), 2U);
    intervals.lift(pages(10, 5));
    EXPECT_FALSE(try_begin(intervals, 10));
    intervals.lift(pages(0, 100));
    EXPECT_TRUE(try_begin(intervals, 10));
}

TEST(IntervalSubscription, RangeWiderThanAllWordsBalances) {
    IntervalSubscription intervals;
    const RangeSet wide = pages(0, 3 * 1024 * region_pages);  // every word three times
    intervals.hold_off(wide);
    EXPECT_EQ(intervals.active(), 3U * 1024);
    EXPECT_FALSE(try_begin(intervals, 5));
    intervals.lift(wide);
    EXPECT_EQ(intervals.active(), 0U);
    EXPECT_TRUE(try_begin(intervals, 5));
}

TEST(IntervalSubscription, BeginWaitsForTheEnd) {
    IntervalSubscription intervals;
    intervals.hold_off(pages(4));
    std::atomic<bool> ended{false};
    std::jthread reader([&] {
        const auto sample = intervals.read_begin(Hvp{4}, steady_clock::now() + 30s);
        EXPECT_TRUE(sample.has_value());
        EXPECT_TRUE(ended.load()) << "read_begin returned inside the invalidation";
    });
    std::this_thread::yield();
    ended.store(true);
    intervals.lift(pages(4));
}

TEST(IntervalSubscription, BeginTimesOut) {
    IntervalSubscription intervals;
    intervals.hold_off(pages(4));
    const auto before = steady_clock::now();
    EXPECT_FALSE(intervals.read_begin(Hvp{4}, before + 20ms));
    EXPECT_GE(steady_clock::now() - before, 20ms);
    intervals.lift(pages(4));
}

TEST(IntervalSubscription, ParallelInvalidationsBalance) {
    IntervalSubscription intervals;
    const auto sample = try_begin(intervals, 0);
    ASSERT_TRUE(sample);
    {
        std::vector<std::jthread> threads;
        for (std::uint64_t t = 0; t < 4; ++t) {
            threads.emplace_back([&intervals, t] {
                for (std::uint64_t i = 0; i < 2000; ++i) {
                    const RangeSet range = pages(t * 100, 1 + i % 1500);
                    intervals.hold_off(range);
                    intervals.lift(range);
                }
            });
        }
        threads.emplace_back([&intervals] {
            for (unsigned i = 0; i < 2000; ++i) {
                EXPECT_TRUE(intervals.read_begin(Hvp{50}, steady_clock::now() + 30s));
            }
        });
    }
    EXPECT_EQ(intervals.active(), 0U);
    EXPECT_TRUE(intervals.read_retry(Hvp{0}, *sample));
}

// Against the smallest model: per region, how many are open and how many have ended.
TEST(IntervalSubscription, IsItsModel) {
    struct Region {
        unsigned open = 0;
        unsigned moves = 0;
    };
    struct Sample {
        std::uint64_t page;
        IntervalSubscription::Sequence sequence;
        unsigned moves;
    };
    constexpr std::uint64_t regions = 4;
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        std::mt19937_64 random(seed);
        IntervalSubscription intervals;
        std::array<Region, regions> model;
        std::vector<RangeSet> open;
        std::vector<Sample> samples;
        const auto count = [&](const RangeSet& ranges, int change) {
            for (std::uint64_t r = 0; r < regions; ++r) {
                if (!ranges.overlaps(HvpRange{Hvp{r * region_pages}, region_pages})) continue;
                model[r].open += static_cast<unsigned>(change);
                ++model[r].moves;
            }
        };
        for (unsigned step = 0; step < 100; ++step) {
            const std::uint64_t page = random() % (regions * region_pages);
            if (const auto kind = random() % 3; kind == 0) {
                RangeSet ranges = pages(page, 1 + random() % (regions * region_pages - page));
                ranges.add(HvpRange{Hvp{random() % (regions * region_pages)}, 1});
                intervals.hold_off(ranges);
                count(ranges, 1);
                open.push_back(std::move(ranges));
            } else if (kind == 1 && !open.empty()) {
                std::swap(open[random() % open.size()], open.back());  // any order, not only nested
                intervals.lift(open.back());
                count(open.back(), -1);
                open.pop_back();
            } else {
                const Region& region = model[page / region_pages];
                const auto sequence = try_begin(intervals, page);
                ASSERT_EQ(sequence.has_value(), region.open == 0);
                if (sequence) samples.push_back({page, *sequence, region.moves});
            }
            for (const Sample& sample : samples) {
                ASSERT_EQ(intervals.read_retry(Hvp{sample.page}, sample.sequence),
                          model[sample.page / region_pages].moves != sample.moves);
            }
            std::uint64_t active = 0;
            for (const Region& region : model) active += region.open;
            ASSERT_EQ(intervals.active(), active);
        }
    }
}

TEST(IntervalSubscriptionDeathTest, EndWithoutBeginStopsTheProcess) {
    IntervalSubscription intervals;
    EXPECT_DEATH(intervals.lift(pages(1)), "invalidation ended twice");
}

TEST(IntervalSubscriptionDeathTest, CallbackMayNotWait) {
    IntervalSubscription intervals;
    EXPECT_DEATH(
        {
            const CallbackScope scope;
            (void)try_begin(intervals, 1);
        },
        "a callback waited");
}

}  // namespace
}  // namespace penumbra::bridge
