#include <gtest/gtest.h>

#include <random>
#include <set>

#include "notifier-bridge/invalidation.hpp"

namespace penumbra::bridge {
namespace {

HvpRange pages(std::uint64_t first, std::uint64_t count) { return HvpRange{Hvp{first}, count}; }

std::vector<HvpRange> of(const RangeSet& set) { return {set.ranges().begin(), set.ranges().end()}; }

TEST(RangeSet, EmptyHoldsNothing) {
    RangeSet set;
    set.add(pages(5, 0));
    EXPECT_TRUE(set.empty());
    EXPECT_EQ(set.pages(), 0U);
    EXPECT_FALSE(set.contains(Hvp{5}));
    EXPECT_FALSE(set.overlaps(pages(0, 100)));
}

TEST(RangeSet, MergesWhatTouches) {
    RangeSet set(pages(10, 5));
    set.add(pages(15, 5));  // adjacent behind
    EXPECT_EQ(of(set), std::vector{pages(10, 10)});
    set.add(pages(5, 5));  // adjacent before
    EXPECT_EQ(of(set), std::vector{pages(5, 15)});
    set.add(pages(7, 3));  // inside
    EXPECT_EQ(of(set), std::vector{pages(5, 15)});
    set.add(pages(30, 1));
    set.add(pages(40, 1));
    EXPECT_EQ(set.ranges().size(), 3U);
    set.add(pages(18, 30));  // swallows two
    EXPECT_EQ(of(set), std::vector{pages(5, 43)});
}

TEST(RangeSet, KeepsApartWhatDoesNotTouch) {
    RangeSet set;
    for (const std::uint64_t first : {40U, 0U, 20U}) set.add(pages(first, 10));
    EXPECT_EQ(of(set), (std::vector{pages(0, 10), pages(20, 10), pages(40, 10)}));
    EXPECT_EQ(set.pages(), 30U);
    EXPECT_TRUE(set.contains(Hvp{9}));
    EXPECT_FALSE(set.contains(Hvp{10}));
    EXPECT_TRUE(set.overlaps(pages(10, 11)));
    EXPECT_FALSE(set.overlaps(pages(10, 10)));
    EXPECT_FALSE(set.overlaps(pages(5, 0)));
    set.clear();
    EXPECT_TRUE(set.empty());
}

TEST(RangeSet, IsASetOfPages) {
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        std::mt19937_64 random(seed);
        RangeSet set;
        std::set<std::uint64_t> model;
        for (unsigned step = 0; step < 40; ++step) {
            const std::uint64_t first = random() % 200;
            const std::uint64_t count = random() % 12;
            set.add(pages(first, count));
            for (std::uint64_t i = 0; i < count; ++i) model.insert(first + i);

            ASSERT_EQ(set.pages(), model.size()) << "seed " << seed;
            for (std::size_t i = 1; i < set.ranges().size(); ++i) {
                ASSERT_LT(set.ranges()[i - 1].end(), set.ranges()[i].first()) << "seed " << seed;
            }
            const HvpRange asked = pages(random() % 210, random() % 20);
            const auto next = model.lower_bound(asked.first().value());
            ASSERT_EQ(set.overlaps(asked), next != model.end() && *next < asked.end().value()) << "seed " << seed;
        }
        for (std::uint64_t page = 0; page < 220; ++page) {
            ASSERT_EQ(set.contains(Hvp{page}), model.contains(page)) << "seed " << seed;
        }
    }
}

TEST(Reason, EveryOneHasItsOwnName) {
    std::set<std::string_view> names;
    for (std::size_t i = 0; i < reason_count; ++i) names.insert(name_of(static_cast<Reason>(i)));
    EXPECT_EQ(names.size(), reason_count);
    EXPECT_EQ(name_of(Reason::swap_out), "swap_out");
    EXPECT_EQ(name_of(Reason::unknown), "unknown");
}

}  // namespace
}  // namespace penumbra::bridge
