// Large leaves of a device's table: when they come, what an invalidation of part of one leaves, and what happens
// without table pages.
#include "shadow-mmu/tables/device_table.hpp"

#include <gtest/gtest.h>

#include "base/planted.hpp"
#include "tests/support/large_leaves.hpp"

namespace penumbra::mmu {
namespace {

using test::LargeLeaves;

constexpr std::uint64_t pages_2m = pages_spanned(Level::page_2m);
constexpr std::uint64_t pages_1g = pages_spanned(Level::page_1g);

TEST(DeviceTable, AFullRegionGrowsTogetherWhereTheDeviceMisses) {
    LargeLeaves small(2 * pages_2m);
    small.fault({Gfn{0}, pages_2m - 1});
    EXPECT_TRUE(small.reach(Gfn{3}));
    EXPECT_EQ(small.level_of(Gfn{3}), Level::page_4k) << "one page is missing";
    EXPECT_EQ(small.fault(Gfn{pages_2m - 1}), FaultOutcome::installed);
    EXPECT_TRUE(small.reach(Gfn{3}));
    EXPECT_EQ(small.level_of(Gfn{3}), Level::page_4k) << "the TLB has it: nothing to gain";
    EXPECT_TRUE(small.reach(Gfn{4}));
    EXPECT_EQ(small.level_of(Gfn{3}), Level::page_2m);
    EXPECT_EQ(small.table.counters().collapses.get(), 1U);
    const std::uint64_t fills = small.tlb.fills();
    for (std::uint64_t gfn = 0; gfn < pages_2m; ++gfn) EXPECT_TRUE(small.reach(Gfn{gfn})) << gfn;
    EXPECT_EQ(small.tlb.fills(), fills) << "one translation serves all";
    EXPECT_EQ(small.mapped(), pages_2m);
    EXPECT_EQ(small.table.untrue_translations(), 0U);
}

TEST(DeviceTable, WhereLargeLeavesAreForbiddenThereAreNone) {
    LargeLeaves part(2 * pages_2m);
    part.table.large_pages().disallow(Gfn{5});
    part.fault({Gfn{0}, 2 * pages_2m});
    for (std::uint64_t gfn = 0; gfn < 2 * pages_2m; ++gfn) EXPECT_TRUE(part.reach(Gfn{gfn}));
    EXPECT_EQ(part.level_of(Gfn{0}), Level::page_4k);
    EXPECT_EQ(part.level_of(Gfn{pages_2m}), Level::page_2m);
    part.table.large_pages().allow(Gfn{5});
    EXPECT_TRUE(part.reach(Gfn{1000}));
    part.tlb.flush_all();
    EXPECT_TRUE(part.reach(Gfn{7}));
    EXPECT_EQ(part.level_of(Gfn{0}), Level::page_2m);
}

/// Whether, around an invalidation of the middle page of a large leaf, that page and no other is gone, from the table
/// and from the TLB.
bool one_page_goes_alone() {
    LargeLeaves leaves(2 * pages_2m);
    leaves.fault({Gfn{0}, pages_2m});
    bool right = leaves.reach(Gfn{9}) && leaves.level_of(Gfn{9}) == Level::page_2m;
    const Gfn page{200};
    leaves.invalidate({{page, 1}}, [&] {
        for (std::uint64_t gfn = 0; gfn < pages_2m; ++gfn) {
            right = right && leaves.table.access(Gfn{gfn}).has_value() == (Gfn{gfn} != page);
        }
    });
    right = right && leaves.table.counters().splits.get() == 1 && leaves.mapped() == pages_2m - 1;
    return right && leaves.table.untrue_translations() == 0;
}

TEST(DeviceTable, OnePageOfALargeLeafGoesAlone) { EXPECT_TRUE(one_page_goes_alone()); }

TEST(DeviceTable, ARegionThatBrokeGrowsTogetherAgainAfterAFewMisses) {
    LargeLeaves leaves(pages_2m);
    leaves.fault({Gfn{0}, pages_2m});
    for (unsigned round = 0; round < 100; ++round) {
        EXPECT_TRUE(leaves.reach(Gfn{0}));
        std::uint64_t misses = 0;
        while (leaves.level_of(Gfn{0}) != Level::page_2m && misses < 100) EXPECT_TRUE(leaves.reach(Gfn{++misses}));
        EXPECT_EQ(leaves.level_of(Gfn{0}), Level::page_2m);
        EXPECT_EQ(misses > 8, round > 0) << "a page that left once may leave again";
        leaves.invalidate({{Gfn{17}, 1}});
        EXPECT_EQ(leaves.fault(Gfn{17}), FaultOutcome::installed);
        EXPECT_EQ(leaves.mapped(), pages_2m);
    }
    EXPECT_EQ(leaves.table.counters().collapses.get(), 100U);
    EXPECT_LE(leaves.table.table_pages(), LargeLeaves::nodes_for(pages_2m)) << "retired pages are used again";
}

TEST(DeviceTable, AGigabyteGrowsTogetherAndBreaksAtOnePage) {
    LargeLeaves leaves(pages_1g);
    leaves.fault({Gfn{0}, pages_1g});
    for (std::uint64_t gfn = 0; gfn < pages_1g; gfn += pages_2m) EXPECT_TRUE(leaves.reach(Gfn{gfn}));
    EXPECT_EQ(leaves.level_of(Gfn{0}), Level::page_2m);
    leaves.tlb.flush_all();
    EXPECT_TRUE(leaves.reach(Gfn{77}));
    EXPECT_EQ(leaves.level_of(Gfn{0}), Level::page_1g);
    const std::uint64_t fills = leaves.tlb.fills();
    for (std::uint64_t gfn = 0; gfn < pages_1g; gfn += 97) ASSERT_TRUE(leaves.reach(Gfn{gfn}));
    EXPECT_EQ(leaves.tlb.fills(), fills);
    EXPECT_EQ(leaves.mapped(), pages_1g);
    const Gfn page{pages_1g / 2 + 3};
    leaves.invalidate({{page, 1}});
    EXPECT_EQ(leaves.table.counters().splits.get(), 2U);
    EXPECT_FALSE(leaves.table.access(page));
    EXPECT_TRUE(leaves.table.access(page + 1));
    EXPECT_EQ(leaves.level_of(page), Level::page_4k);
    EXPECT_EQ(leaves.level_of(Gfn{0}), Level::page_2m);
    EXPECT_EQ(leaves.mapped(), pages_1g - 1);
    EXPECT_EQ(leaves.table.untrue_translations(), 0U);
}

TEST(DeviceTable, WhatOneBlockedEventSplitStillTranslates) {
    LargeLeaves leaves(2 * pages_2m);
    leaves.fault({Gfn{0}, pages_2m});
    EXPECT_TRUE(leaves.reach(Gfn{0}));
    ASSERT_EQ(leaves.table.claim(Gfn{pages_2m + 1}), Claim::taken);  // a fault has a page of the event in hand
    bridge::InvalidationEvent event;
    event.reason = bridge::Reason::discard;
    event.blockable = bridge::Blockable::no;
    event.ranges.add(HvpRange{LargeLeaves::host + (pages_2m - 5), 10});
    EXPECT_EQ(leaves.table.invalidate_start(event), bridge::StartResult::would_block);
    EXPECT_EQ(leaves.table.sequence().active(), 0U);
    for (std::uint64_t gfn = 0; gfn < pages_2m; ++gfn) EXPECT_TRUE(leaves.table.access(Gfn{gfn}));
    leaves.table.abandon(Gfn{pages_2m + 1});
    EXPECT_EQ(leaves.mapped(), pages_2m);
}

/// Invalidations of parts of leaves, with `nodes` table pages: whatever the device reaches is in the window, and what
/// left it is not reached.
void check_with_nodes(std::uint64_t nodes) {
    constexpr std::uint64_t pages = 3 * pages_2m;
    LargeLeaves leaves(pages, nodes);
    const auto check = [&](const std::vector<GfnRange>& gone) {
        for (std::uint64_t gfn = 0; gfn < pages; ++gfn) {
            bool left = false;
            for (const GfnRange& range : gone) left = left || range.contains(Gfn{gfn});
            const auto held = leaves.table.access(Gfn{gfn});
            EXPECT_FALSE(left && held) << gfn;
            EXPECT_FALSE(held && !leaves.window.has(held->page)) << gfn;
        }
        EXPECT_EQ(leaves.table.untrue_translations(), 0U);
    };
    const std::vector<std::vector<GfnRange>> events{
        {{Gfn{100}, 1}, {Gfn{200}, 7}, {Gfn{700}, 1}},            // twice in one leaf, once in the next
        {{Gfn{pages_2m - 1}, 2}},                                 // over an edge
        {{Gfn{0}, pages_2m}},                                     // a whole leaf
        {{Gfn{5}, 2 * pages_2m}, {Gfn{2 * pages_2m + 300}, 1}}};  // parts, a whole, a part again
    for (const std::vector<GfnRange>& event : events) {
        for (unsigned turn = 0; turn < 3; ++turn) {
            leaves.fault({Gfn{0}, pages});
            check({});
        }
        leaves.invalidate(event, [&] { check(event); });
    }
    leaves.space.release();
    EXPECT_EQ(leaves.mapped(), 0U);
}

TEST(DeviceTable, StaysRightWhateverTablePagesThereAre) {
    for (std::uint64_t nodes = 1; nodes <= LargeLeaves::nodes_for(3 * pages_2m) + 2; ++nodes) check_with_nodes(nodes);
}

TEST(DeviceTable, WithoutATablePageTheWholeLeafGoes) {
    LargeLeaves leaves(2 * pages_2m, LargeLeaves::nodes_for(pages_2m));
    leaves.fault({Gfn{0}, pages_2m});
    EXPECT_TRUE(leaves.reach(Gfn{0}));
    ASSERT_EQ(leaves.level_of(Gfn{0}), Level::page_2m);
    EXPECT_EQ(leaves.fault(Gfn{pages_2m}), FaultOutcome::installed) << "the page that the collapse left";
    leaves.invalidate({{Gfn{3}, 1}, {Gfn{9}, 2}, {Gfn{20}, 1}});
    EXPECT_EQ(leaves.table.counters().splits.get(), 0U);
    EXPECT_EQ(leaves.mapped(), 1U);
    EXPECT_FALSE(leaves.table.access(Gfn{4}));
    EXPECT_TRUE(leaves.table.access(Gfn{pages_2m}));
    EXPECT_EQ(leaves.fault(Gfn{4}), FaultOutcome::out_of_memory);
}

#if defined(PENUMBRA_TEST_SWITCHES)

TEST(DeviceTable, NoticesALargeTranslationThatStays) {
    const Planted planted(Plant::skip_device_flush);
    EXPECT_FALSE(one_page_goes_alone());
}

/// Cached translations that permit what no leaf permits, after a collapse of leaves with different rights.
std::uint64_t untrue_after_collapse() {
    LargeLeaves leaves(pages_2m);
    leaves.fault({Gfn{0}, pages_2m});
    leaves.table.begin_dirty_log();
    EXPECT_TRUE(leaves.reach(Gfn{3}, FaultAccess::write));
    leaves.table.end_dirty_log();
    EXPECT_TRUE(leaves.reach(Gfn{4}, FaultAccess::read));
    EXPECT_EQ(leaves.level_of(Gfn{3}), Level::page_2m);
    return leaves.table.untrue_translations();
}

TEST(DeviceTable, ACollapseLeavesNoRightInTheTlb) {
    EXPECT_EQ(untrue_after_collapse(), 0U);
    const Planted planted(Plant::collapse_skips_flush);
    EXPECT_EQ(untrue_after_collapse(), 1U);
}

#endif

}  // namespace
}  // namespace penumbra::mmu
