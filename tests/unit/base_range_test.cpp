#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <limits>

#include "base/range.hpp"

namespace penumbra {
namespace {

TEST(FrameRange, IsHalfOpen) {
    const GfnRange range{Gfn{10}, 5};
    EXPECT_EQ(range.end(), Gfn{15});
    EXPECT_EQ(range.bytes(), 5 * page_bytes);
    EXPECT_FALSE(range.contains(Gfn{9}));
    EXPECT_TRUE(range.contains(Gfn{10}));
    EXPECT_TRUE(range.contains(Gfn{14}));
    EXPECT_FALSE(range.contains(Gfn{15}));
}

TEST(FrameRange, NeighboursDoNotOverlap) {
    const GfnRange range{Gfn{10}, 5};
    EXPECT_FALSE(range.overlaps({Gfn{5}, 5}));
    EXPECT_FALSE(range.overlaps({Gfn{15}, 5}));
    EXPECT_TRUE(range.overlaps({Gfn{14}, 1}));
    EXPECT_TRUE(range.overlaps({Gfn{0}, 100}));
}

TEST(FrameRange, EmptyRangesOverlapNothing) {
    const GfnRange empty{Gfn{12}, 0};
    const GfnRange range{Gfn{10}, 5};
    EXPECT_TRUE(empty.empty());
    EXPECT_FALSE(empty.contains(Gfn{12}));
    EXPECT_FALSE(range.overlaps(empty));
    EXPECT_FALSE(empty.overlaps(range));
    EXPECT_TRUE(range.contains(empty));
}

TEST(FrameRangeDeathTest, EndMustNotOverflow) {
    const Gfn last{std::numeric_limits<std::uint64_t>::max()};
    EXPECT_EQ((GfnRange{last, 0}.end()), last);
    EXPECT_DEATH((void)(GfnRange{last, 1}), "address arithmetic overflowed");
}

RC_GTEST_PROP(FrameRange, AgreesWithCountingFrames,
              (std::uint8_t a, std::uint8_t a_pages, std::uint8_t b, std::uint8_t b_pages)) {
    const GfnRange left{Gfn{a}, a_pages};
    const GfnRange right{Gfn{b}, b_pages};
    unsigned common = 0;
    for (unsigned frame = 0; frame < 512; ++frame) {
        common += left.contains(Gfn{frame}) && right.contains(Gfn{frame}) ? 1U : 0U;
    }
    RC_ASSERT(left.overlaps(right) == (common > 0));
    RC_ASSERT(right.overlaps(left) == left.overlaps(right));
    if (b_pages > 0) RC_ASSERT(left.contains(right) == (common == b_pages));
}

}  // namespace
}  // namespace penumbra
