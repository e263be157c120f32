#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <limits>
#include <type_traits>

#include "base/address.hpp"
#include "base/page_size.hpp"

namespace penumbra {
namespace {

constexpr std::uint64_t top = std::numeric_limits<std::uint64_t>::max();

template <class A, class B>
concept Comparable = requires(A a, B b) { a == b; };
template <class A, class B>
concept Addable = requires(A a, B b) { a + b; };
template <class A, class B>
concept Subtractable = requires(A a, B b) { a - b; };

static_assert(!std::is_convertible_v<std::uint64_t, Gpa> && !std::is_convertible_v<Gpa, std::uint64_t>);
static_assert(!Comparable<Gpa, Hva> && !Comparable<Gpa, Gfn> && !Comparable<Gfn, Hvp>);
static_assert(!Addable<Gpa, Gpa> && !Subtractable<Gpa, Gva> && !Subtractable<Gfn, Hvp>);
static_assert(std::is_same_v<decltype(Gpa{} - Gpa{}), std::uint64_t>, "a distance is a length, not an address");

TEST(Address, AddsAndSubtractsUpToTheEdges) {
    EXPECT_EQ(Gpa{top - 1} + 1, Gpa{top});
    EXPECT_EQ(Gpa{top} - top, Gpa{0});
    EXPECT_EQ(Gfn{7} - Gfn{7}, 0U);
    Gfn frame{41};
    ++frame;
    frame += 8;
    EXPECT_EQ(frame, Gfn{50});
}

TEST(AddressDeathTest, OverflowStopsTheProcess) {
    EXPECT_DEATH((void)(Gpa{top} + 1), "address arithmetic overflowed");
    EXPECT_DEATH((void)(Gpa{3} - 4), "went below zero");
    EXPECT_DEATH((void)(Hva{3} - Hva{4}), "negative address distance");
    EXPECT_DEATH((void)address_of(Gfn{std::uint64_t{1} << 52}), "frame number too large");
}

TEST(Address, LargestFrameHasAnAddress) {
    const Gfn last{(std::uint64_t{1} << 52) - 1};
    EXPECT_EQ(address_of(last).value(), top - page_bytes + 1);
}

RC_GTEST_PROP(Address, FrameAndOffsetMakeTheAddress, (std::uint64_t raw)) {
    const Gva address{raw};
    RC_ASSERT(address_of(frame_of(address)) + page_offset(address) == address);
    RC_ASSERT(is_page_aligned(address) == (raw % page_bytes == 0));
}

RC_GTEST_PROP(Address, OrderIsTheOrderOfTheNumbers, (std::uint64_t a, std::uint64_t b)) {
    RC_ASSERT((Gfn{a} < Gfn{b}) == (a < b));
    RC_ASSERT((Gfn{a} == Gfn{b}) == (a == b));
}

TEST(Address, PointersRoundTrip) {
    int here = 0;
    EXPECT_EQ(static_cast<void*>(pointer_to(hva_of(&here))), static_cast<void*>(&here));
}

TEST(PageSize, EachLevelSpans512OfTheLevelBelow) {
    for (const Level level : {Level::page_2m, Level::page_1g, Level::top_4, Level::top_5}) {
        EXPECT_EQ(pages_spanned(level), entries_per_node * pages_spanned(below(level)));
    }
}

}  // namespace
}  // namespace penumbra
