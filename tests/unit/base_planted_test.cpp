#include <gtest/gtest.h>

#include "base/planted.hpp"

namespace penumbra {
namespace {

static_assert(test_switches, "tests are built with the switches on");

TEST(Planted, FiresAsOftenAsAskedAndThenNoMore) {
    const Planted scope(Plant::short_read, 2);
    EXPECT_TRUE(planted(Plant::short_read));
    EXPECT_TRUE(planted(Plant::short_read));
    EXPECT_FALSE(planted(Plant::short_read));
}

TEST(Planted, WithoutANumberItFiresUntilTheScopeEnds) {
    {
        const Planted scope(Plant::full_disk);
        for (int i = 0; i < 5; ++i) EXPECT_TRUE(planted(Plant::full_disk));
        EXPECT_FALSE(planted(Plant::short_read)) << "switches do not touch each other";
    }
    EXPECT_FALSE(planted(Plant::full_disk));
}

}  // namespace
}  // namespace penumbra
