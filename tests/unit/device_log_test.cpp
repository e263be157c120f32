// The dirty log of a device's table: by 4 KiB page whatever the leaves' size, nothing missed, nothing made up.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <set>
#include <thread>

#include "base/planted.hpp"
#include "base/thread.hpp"
#include "tests/support/large_leaves.hpp"

namespace penumbra::mmu {
namespace {

using test::LargeLeaves;

constexpr std::uint64_t pages_2m = pages_spanned(Level::page_2m);
constexpr std::size_t enough = 4096;

std::set<std::uint64_t> taken_by(DeviceTable& table, std::size_t most = enough) {
    std::set<std::uint64_t> pages;
    const DeviceTable::DirtyPages taken = table.take_dirty_log(most);
    EXPECT_LE(taken.ranges.size(), most);
    for (const GfnRange& range : taken.ranges) {
        for (Gfn gfn = range.first(); gfn < range.end(); ++gfn) pages.insert(gfn.value());
    }
    EXPECT_EQ(pages.size(), taken.pages) << "ranges overlap";
    return pages;
}

class DeviceLog : public testing::Test {
protected:
    static constexpr std::uint64_t pages = 3 * pages_2m;
    using Pages = std::set<std::uint64_t>;

    void grow_all() {
        leaves_.fault({Gfn{0}, pages});
        for (std::uint64_t gfn = 0; gfn < pages; gfn += pages_2m) ASSERT_TRUE(leaves_.reach(Gfn{gfn}));
        ASSERT_EQ(leaves_.level_of(Gfn{0}), Level::page_2m);
    }
    Pages take() { return taken_by(leaves_.table); }

    LargeLeaves leaves_{pages};
};

TEST_F(DeviceLog, TheFirstWriteSplitsAndOnlyItsPageIsTold) {
    grow_all();
    leaves_.table.begin_dirty_log();
    EXPECT_EQ(take(), Pages{}) << "what was written before the log";
    for (std::uint64_t gfn = 0; gfn < pages; ++gfn) ASSERT_TRUE(leaves_.reach(Gfn{gfn}, FaultAccess::read));
    EXPECT_EQ(leaves_.level_of(Gfn{0}), Level::page_2m) << "reads split nothing";
    EXPECT_EQ(take(), Pages{});
    EXPECT_TRUE(leaves_.reach(Gfn{700}));
    EXPECT_EQ(leaves_.level_of(Gfn{700}), Level::page_4k);
    EXPECT_EQ(leaves_.level_of(Gfn{0}), Level::page_2m);
    EXPECT_TRUE(leaves_.reach(Gfn{701}, FaultAccess::read));
    EXPECT_EQ(take(), Pages{700});
    EXPECT_EQ(take(), Pages{}) << "taken is taken";
    EXPECT_TRUE(leaves_.reach(Gfn{700}));
    EXPECT_EQ(take(), Pages{700}) << "a cached translation may not write on unseen";
    leaves_.table.end_dirty_log();
}

TEST_F(DeviceLog, AfterTheLogLeavesGrowTogetherAgain) {
    grow_all();
    leaves_.table.begin_dirty_log();
    for (std::uint64_t gfn = 0; gfn < pages; gfn += 5) EXPECT_TRUE(leaves_.reach(Gfn{gfn}));
    EXPECT_EQ(leaves_.level_of(Gfn{0}), Level::page_4k);
    for (std::uint64_t gfn = 0; gfn < pages; ++gfn) EXPECT_TRUE(leaves_.reach(Gfn{gfn}, FaultAccess::read));
    EXPECT_EQ(leaves_.level_of(Gfn{0}), Level::page_4k) << "not while it is on";
    leaves_.table.end_dirty_log();
    leaves_.tlb.flush_all();
    for (std::uint64_t gfn = 0; gfn < pages; ++gfn) EXPECT_TRUE(leaves_.reach(Gfn{gfn}));
    for (std::uint64_t gfn = 0; gfn < pages; gfn += pages_2m) EXPECT_EQ(leaves_.level_of(Gfn{gfn}), Level::page_2m);
    EXPECT_EQ(leaves_.table.untrue_translations(), 0U);
    EXPECT_EQ(leaves_.mapped(), pages);
}

TEST_F(DeviceLog, PagesThatComeMeanwhileAreToldWhenTheyAreWritten) {
    leaves_.table.begin_dirty_log();
    EXPECT_EQ(leaves_.fault(Gfn{3}, FaultAccess::read), FaultOutcome::installed);
    EXPECT_TRUE(leaves_.reach(Gfn{3}, FaultAccess::read));
    EXPECT_TRUE(leaves_.reach(Gfn{4}, FaultAccess::read));
    EXPECT_EQ(take(), Pages{});
    EXPECT_TRUE(leaves_.reach(Gfn{4}, FaultAccess::write));
    EXPECT_TRUE(leaves_.reach(Gfn{5}, FaultAccess::write));
    leaves_.invalidate({{Gfn{5}, 1}});
    EXPECT_EQ(take(), (Pages{4, 5})) << "also what has left since";
    EXPECT_EQ(leaves_.fault(Gfn{4}, FaultAccess::write), FaultOutcome::installed) << "a right was missing";
    EXPECT_EQ(take(), Pages{4});
    leaves_.table.end_dirty_log();
    EXPECT_TRUE(leaves_.reach(Gfn{3}, FaultAccess::write)) << "what was installed to be read may be written later";
}

TEST_F(DeviceLog, ATakeIsBoundedAndTheNextGoesOn) {
    leaves_.table.begin_dirty_log();
    Pages written;
    for (std::uint64_t gfn = 0; gfn < pages; gfn += 2) {
        EXPECT_TRUE(leaves_.reach(Gfn{gfn}));
        written.insert(gfn);
    }
    Pages told;
    for (unsigned i = 0; i < 3; ++i) {
        const Pages some = taken_by(leaves_.table, pages_2m / 2);
        EXPECT_EQ(some.size(), pages_2m / 2);
        told.insert(some.begin(), some.end());
    }
    EXPECT_EQ(told, written);
    EXPECT_FALSE(leaves_.table.take_dirty_log(enough).more);
    leaves_.table.end_dirty_log();
}

TEST(DeviceLogShort, WithoutATablePageTheWholeLeafIsTold) {
    LargeLeaves leaves(2 * pages_2m, LargeLeaves::nodes_for(pages_2m));
    leaves.fault({Gfn{0}, pages_2m});
    EXPECT_TRUE(leaves.reach(Gfn{0}));
    EXPECT_EQ(leaves.fault(Gfn{pages_2m}), FaultOutcome::installed) << "takes the last table page";
    leaves.table.begin_dirty_log();
    EXPECT_TRUE(leaves.reach(Gfn{7}));
    EXPECT_EQ(leaves.level_of(Gfn{7}), Level::page_2m);
    EXPECT_EQ(taken_by(leaves.table).size(), pages_2m);
    EXPECT_EQ(taken_by(leaves.table).size(), 0U);
    EXPECT_TRUE(leaves.reach(Gfn{8}));
    EXPECT_TRUE(taken_by(leaves.table).contains(8));
    leaves.table.end_dirty_log();
}

/// Rounds of random reads, writes and invalidations with a take after each: pages that were missed, made up, or could
/// be written after the take as before.
struct Mistakes {
    std::uint64_t missed = 0;
    std::uint64_t made_up = 0;
    std::uint64_t unguarded = 0;
};
Mistakes random_rounds(std::uint32_t seed) {
    constexpr std::uint64_t pages = 2 * pages_2m;
    std::mt19937 random(seed);
    LargeLeaves leaves(pages);
    Mistakes mistakes;
    const auto some = [&] { return Gfn{random() % pages}; };
    for (unsigned log = 0; log < 3; ++log) {
        leaves.fault({Gfn{0}, pages});
        for (unsigned i = 0; i < 200; ++i) EXPECT_TRUE(leaves.reach(some()));
        EXPECT_GT(leaves.table.counters().collapses.get(), 0U);
        leaves.table.begin_dirty_log();
        for (unsigned round = 0; round < 20; ++round) {
            std::set<std::uint64_t> written;
            for (unsigned i = 0; i < 60; ++i) {
                const Gfn gfn = some();
                if (random() % 8 == 0) leaves.invalidate({{gfn, std::min<std::uint64_t>(3, pages - gfn.value())}});
                const bool writes = random() % 2 == 0;
                EXPECT_TRUE(leaves.reach(gfn, writes ? FaultAccess::write : FaultAccess::read));
                if (writes) written.insert(gfn.value());
            }
            mistakes.unguarded += leaves.table.unlogged_pages();
            const std::set<std::uint64_t> told = taken_by(leaves.table);
            mistakes.unguarded += leaves.table.unlogged_pages();
            for (const std::uint64_t gfn : written) mistakes.missed += told.contains(gfn) ? 0U : 1U;
            for (const std::uint64_t gfn : told) mistakes.made_up += written.contains(gfn) ? 0U : 1U;
        }
        leaves.table.end_dirty_log();
    }
    return mistakes;
}

TEST(DeviceLogRandom, TellsWhatWasWrittenAndNothingElse) {
    for (std::uint32_t seed = 1; seed <= 5; ++seed) {
        const Mistakes mistakes = random_rounds(seed);
        EXPECT_EQ(mistakes.missed, 0U) << "seed " << seed;
        EXPECT_EQ(mistakes.made_up, 0U) << "seed " << seed;
        EXPECT_EQ(mistakes.unguarded, 0U) << "seed " << seed;
    }
}

TEST(DeviceLogThreads, ATakeWaitsForAWriteInFlight) {
    LargeLeaves leaves(pages_2m);
    leaves.fault({Gfn{0}, pages_2m});
    leaves.table.begin_dirty_log();
    std::atomic<int> content{0};
    std::atomic<bool> begun{false};
    int copied = -1;
    auto held = leaves.table.access(Gfn{5}, FaultAccess::write);
    ASSERT_TRUE(held);
    Thread taker("taker", ThreadRole::vmm, [&] {
        begun = true;
        (void)taken_by(leaves.table);
        copied = content;
    });
    while (!begun) std::this_thread::yield();
    for (unsigned i = 0; i < 1000; ++i) std::this_thread::yield();  // for a take that does not wait to show itself
    content = 1;
    held.reset();
    taker.join();
    EXPECT_EQ(copied, 1) << "what was told as written was copied before it was";
    leaves.table.end_dirty_log();
}

#if defined(PENUMBRA_TEST_SWITCHES)

TEST(DeviceLogPlanted, AMissedWriteIsNoticed) {
    {
        const Planted planted(Plant::clean_skips_flush);
        EXPECT_GT(random_rounds(1).missed, 0U);
    }
    for (const Plant plant : {Plant::split_forgets_rights, Plant::harvest_leaves_write}) {
        const Planted planted(plant);
        EXPECT_GT(random_rounds(1).unguarded, 0U) << static_cast<int>(plant);
    }
}

#endif

}  // namespace
}  // namespace penumbra::mmu
