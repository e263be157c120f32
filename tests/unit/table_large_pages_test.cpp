#include <gtest/gtest.h>

#include "base/planted.hpp"
#include "shadow-mmu/table/large_pages.hpp"

namespace penumbra::mmu {
namespace {

constexpr std::uint64_t pages_2m = pages_spanned(Level::page_2m);
constexpr std::uint64_t pages_1g = pages_spanned(Level::page_1g);

TEST(LargePages, AllowedWhereSlotAndBothSidesFit) {
    const LargePages pages(Memslots({
        {GfnRange{Gfn{0}, 2 * pages_1g + 3 * pages_2m + 7}, Hvp{8 * pages_1g}},             // ends in the middle
        {GfnRange{Gfn{4 * pages_1g}, 2 * pages_2m}, Hvp{16 * pages_1g + 1}},                // shifted by one page
        {GfnRange{Gfn{6 * pages_1g}, pages_1g}, Hvp{20 * pages_1g + pages_2m}},             // by 2 MiB
        {GfnRange{Gfn{9 * pages_1g + 5}, 2 * pages_2m}, Hvp{24 * pages_1g + pages_2m + 5}}  // begins in the middle
    }));
    EXPECT_EQ(pages.largest(Gfn{5}), Level::page_1g);
    EXPECT_EQ(pages.largest(Gfn{5}, Level::page_2m), Level::page_2m);
    EXPECT_EQ(pages.largest(Gfn{2 * pages_1g + 5}), Level::page_2m) << "the gigabyte is not whole";
    EXPECT_EQ(pages.largest(Gfn{2 * pages_1g + 3 * pages_2m}), Level::page_4k);
    EXPECT_EQ(pages.count(Gfn{2 * pages_1g + 3 * pages_2m}, Level::page_2m), 1U);
    EXPECT_EQ(pages.largest(Gfn{4 * pages_1g}), Level::page_4k);
    EXPECT_EQ(pages.largest(Gfn{6 * pages_1g}), Level::page_2m);
    EXPECT_EQ(pages.largest(Gfn{9 * pages_1g + 5}), Level::page_4k);
    EXPECT_EQ(pages.largest(Gfn{9 * pages_1g + pages_2m}), Level::page_2m);
    EXPECT_EQ(pages.largest(Gfn{3 * pages_1g}), Level::page_4k) << "no RAM there";
}

/// Whether a page that was disallowed twice stays so until it was allowed twice, at both sizes, and no other.
bool counts_hold() {
    LargePages pages(Memslots({{GfnRange{Gfn{0}, 2 * pages_1g}, Hvp{8 * pages_1g}}}));
    const Gfn gfn{pages_2m + 3};
    pages.disallow(gfn);
    bool held = pages.count(gfn, Level::page_2m) == 1 && pages.count(gfn, Level::page_1g) == 1;
    if (!held) return false;
    pages.disallow(gfn + 1);
    held = held && pages.largest(gfn) == Level::page_4k && pages.count(gfn, Level::page_1g) == 2;
    held = held && pages.largest(Gfn{0}) == Level::page_2m && pages.largest(Gfn{pages_1g}) == Level::page_1g;
    if (!held) return false;
    pages.allow(gfn);
    held = held && pages.largest(gfn) == Level::page_4k;
    pages.allow(gfn + 1);
    return held && pages.largest(gfn) == Level::page_1g && pages.count(gfn, Level::page_2m) == 0;
}

TEST(LargePages, CountsReasons) { EXPECT_TRUE(counts_hold()); }

TEST(LargePagesDeathTest, AllowedMoreOftenThanForbidden) {
    LargePages pages(Memslots({{GfnRange{Gfn{0}, pages_1g}, Hvp{0}}}));
    EXPECT_DEATH(pages.allow(Gfn{0}), "more often than forbidden");
}

TEST(TablePlanted, AMissedDisallowIsFound) {
    const Planted bug(Plant::miss_disallow, 1);
    EXPECT_FALSE(counts_hold());
}

}  // namespace
}  // namespace penumbra::mmu
