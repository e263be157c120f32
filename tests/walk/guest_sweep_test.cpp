// The guest walk against the oracle: every case, on two threads. Minutes under sanitizers; the release-like preset
// "lab" takes seconds for each.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "tests/support/walk_sweeps.hpp"

namespace penumbra::test::guest_sweep_test {
namespace {

constexpr unsigned threads = 2;

template <class Sweep>
void expect_no_difference(const Sweep& sweep) {
    const SweepSummary summary =
        run_sweep([&](std::uint64_t number) { return sweep.at(number); }, sweep.size(), threads);
    std::printf("             %lu cases, %lu of them faults, %lu differences\n", summary.cases, summary.faults,
                summary.differences);
    EXPECT_EQ(summary.cases, sweep.size());
    EXPECT_EQ(summary.differences, 0U) << summary.first;
    EXPECT_GT(summary.faults, 0U);
    EXPECT_LT(summary.faults, summary.cases);
}

struct Width {
    Level top;
    std::uint8_t physical_bits;
};
class GuestAccessSweep : public testing::TestWithParam<Width> {};
INSTANTIATE_TEST_SUITE_P(All, GuestAccessSweep,
                         testing::Values(Width{Level::top_4, 36}, Width{Level::top_4, 46}, Width{Level::top_4, 52},
                                         Width{Level::top_5, 36}, Width{Level::top_5, 46}, Width{Level::top_5, 52}),
                         [](const auto& test) {
                             return "levels_" + std::to_string(static_cast<unsigned>(test.param.top)) + "_bits_" +
                                    std::to_string(test.param.physical_bits);
                         });
TEST_P(GuestAccessSweep, AgreesWithTheOracle) {
    expect_no_difference(AccessSweep(GetParam().top, GetParam().physical_bits));
}

class GuestRightsSweep : public testing::TestWithParam<Level> {};
INSTANTIATE_TEST_SUITE_P(All, GuestRightsSweep, testing::Values(Level::page_4k, Level::page_2m, Level::page_1g),
                         [](const auto& test) { return "leaf_" + std::to_string(static_cast<unsigned>(test.param)); });
TEST_P(GuestRightsSweep, AgreesWithTheOracle) { expect_no_difference(RightsSweep(GetParam())); }

TEST(GuestRandomSweep, AgreesWithTheOracle) { expect_no_difference(RandomSweep(1, 20'000'000)); }

}  // namespace
}  // namespace penumbra::test::guest_sweep_test
