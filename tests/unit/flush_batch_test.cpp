#include "shadow-mmu/flush/flush_batch.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

namespace penumbra::mmu {
namespace {

/// Has no full flush: a full batch must commit early.
struct PreciseTarget {
    using Run = int;
    static constexpr std::size_t capacity = 3;

    void flush(std::span<const int> runs) { flushes.emplace_back(runs.begin(), runs.end()); }

    std::vector<std::vector<int>> flushes;
};

struct FullTarget : PreciseTarget {
    void flush_all() { ++full_flushes; }

    unsigned full_flushes = 0;
};

template <class Target>
void add(FlushBatch<Target>& batch, int runs) {
    for (int i = 0; i < runs; ++i) batch.add(i);
}

TEST(FlushBatch, EmptyOwesNothing) {
    FullTarget target;
    FlushBatch<FullTarget> batch(target);
    EXPECT_EQ(open_flush_duties(), 0U);
    batch.commit();
    EXPECT_TRUE(target.flushes.empty());
    EXPECT_EQ(target.full_flushes, 0U);
}

TEST(FlushBatch, CommitFlushesEveryRunOnce) {
    FullTarget target;
    FlushBatch<FullTarget> batch(target);
    add(batch, 3);
    EXPECT_EQ(open_flush_duties(), 1U);
    EXPECT_TRUE(target.flushes.empty());
    batch.commit();
    batch.commit();
    EXPECT_EQ(target.flushes, (std::vector<std::vector<int>>{{0, 1, 2}}));
    EXPECT_EQ(open_flush_duties(), 0U);
    batch.add(9);  // a batch may be used again
    EXPECT_EQ(open_flush_duties(), 1U);
    batch.commit();
    EXPECT_EQ(target.flushes.back(), std::vector{9});
}

TEST(FlushBatch, OverflowBecomesAFullFlush) {
    FullTarget target;
    FlushBatch<FullTarget> batch(target);
    add(batch, 7);
    EXPECT_EQ(open_flush_duties(), 1U);
    batch.commit();
    EXPECT_EQ(target.full_flushes, 1U);
    EXPECT_TRUE(target.flushes.empty());
    EXPECT_EQ(open_flush_duties(), 0U);
    batch.add(1);
    batch.commit();
    EXPECT_EQ(target.full_flushes, 1U) << "the overflow is over";
    EXPECT_EQ(target.flushes, (std::vector<std::vector<int>>{{1}}));
}

TEST(FlushBatch, WithoutFullFlushCommitsEarly) {
    PreciseTarget target;
    FlushBatch<PreciseTarget> batch(target);
    add(batch, 7);
    EXPECT_EQ(target.flushes, (std::vector<std::vector<int>>{{0, 1, 2}, {3, 4, 5}}));
    EXPECT_EQ(open_flush_duties(), 1U);
    batch.commit();
    EXPECT_EQ(target.flushes.back(), std::vector{6});
    EXPECT_EQ(open_flush_duties(), 0U);
}

TEST(FlushBatch, DutiesOfOneThreadAddUp) {
    FullTarget target;
    FlushBatch<FullTarget> first(target);
    FlushBatch<FullTarget> second(target);
    add(first, 1);
    add(second, 5);
    EXPECT_EQ(open_flush_duties(), 2U);
    first.commit();
    EXPECT_EQ(open_flush_duties(), 1U);
    second.commit();
    EXPECT_EQ(open_flush_duties(), 0U);
}

TEST(FlushBatchDeathTest, DroppedDutyStopsTheProcess) {
    const auto drop = [](int runs) {
        FullTarget target;
        FlushBatch<FullTarget> batch(target);
        add(batch, runs);
    };
    EXPECT_DEATH(drop(1), "flush duty dropped without a commit");
    EXPECT_DEATH(drop(4), "flush duty dropped without a commit");
}

}  // namespace
}  // namespace penumbra::mmu
