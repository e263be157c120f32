// The EPT walk against its oracle: every case.
#include <gtest/gtest.h>

#include <cstdio>

#include "tests/support/walk_ept_sweeps.hpp"

namespace penumbra::test::ept_sweep_test {
namespace {

template <class Sweep>
void expect_no_difference(const Sweep& sweep) {
    const EptSummary summary = run_ept_sweep([&](std::uint64_t number) { return sweep.at(number); }, sweep.size());
    std::printf("             %lu cases: %lu allowed, %lu violations, %lu misconfigurations; %lu differences\n",
                summary.cases, summary.allowed, summary.violations, summary.misconfigurations, summary.differences);
    EXPECT_EQ(summary.differences, 0U) << summary.first;
    EXPECT_GT(summary.allowed, 0U);
    EXPECT_GT(summary.violations, 0U);
    EXPECT_GT(summary.misconfigurations, 0U);
}

TEST(EptSweep, RightsOf4KibPages) { expect_no_difference(EptRightsSweep(Level::page_4k)); }
TEST(EptSweep, RightsOf2MibPages) { expect_no_difference(EptRightsSweep(Level::page_2m)); }
TEST(EptSweep, RightsOf1GibPages) { expect_no_difference(EptRightsSweep(Level::page_1g)); }
TEST(EptSweep, SingleBits) { expect_no_difference(EptBitSweep()); }
TEST(EptSweep, Random) { expect_no_difference(EptRandomSweep(2, 1'000'000)); }

}  // namespace
}  // namespace penumbra::test::ept_sweep_test
