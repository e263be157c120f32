// A sample of the EPT walk's sweeps (tests/walk runs all of them), and the wrong walks that it finds.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "shadow-mmu/guest_walk/walk_bugs.hpp"
#include "tests/support/walk_ept_sweeps.hpp"

namespace penumbra::test::ept_sweep_test {
namespace {

using mmu::WalkBug;

struct Sample {
    const char* name;
    std::function<EptCase(std::uint64_t)> at;
    std::uint64_t size, stride;
};

std::vector<Sample> samples() {
    const auto sample = [](const char* name, const auto& sweep, std::uint64_t stride) {
        return Sample{name, [sweep](std::uint64_t number) { return sweep.at(number); }, sweep.size(), stride};
    };
    return {sample("rights, 4 KiB", EptRightsSweep(Level::page_4k), 307),
            sample("rights, 2 MiB", EptRightsSweep(Level::page_2m), 37),
            sample("rights, 1 GiB", EptRightsSweep(Level::page_1g), 5), sample("bits", EptBitSweep(), 7),
            sample("random", EptRandomSweep(20'260'102, 10'000), 1)};
}

TEST(EptWalkSweep, SampleAgreesWithTheOracle) {
    for (const Sample& sample : samples()) {
        const EptSummary summary = run_ept_sweep(sample.at, sample.size, sample.stride);
        EXPECT_EQ(summary.differences, 0U) << sample.name << ", " << summary.first;
        EXPECT_GT(summary.allowed, 0U) << sample.name;
        EXPECT_GT(summary.violations, 0U) << sample.name;
        EXPECT_GT(summary.misconfigurations, 0U) << sample.name;
    }
}

struct BugName {
    WalkBug bug;
    const char* name;
};
#define BUG(name) \
    BugName { WalkBug::ept_##name, #name }

class EptWalkBug : public testing::TestWithParam<BugName> {};
INSTANTIATE_TEST_SUITE_P(Each, EptWalkBug,
                         testing::Values(BUG(write_only_allowed), BUG(execute_only_allowed), BUG(memory_type_ignored),
                                         BUG(upper_reserved_ignored), BUG(permission_at_leaf_only),
                                         BUG(table_access_is_read), BUG(user_execute_ignored), BUG(mark_before_check),
                                         BUG(large_low_bits)),
                         [](const auto& test) { return std::string(test.param.name); });
#undef BUG

TEST_P(EptWalkBug, IsFoundByTheSample) {
    const mmu::PlantedWalkBug planted(GetParam().bug);
    std::string found;
    for (const Sample& sample : samples()) {
        const EptSummary summary = run_ept_sweep(sample.at, sample.size, sample.stride, 1);
        if (summary.differences == 0) continue;
        if (!found.empty()) found += "; ";
        found += std::string(sample.name) + " after " + std::to_string(summary.cases);
    }
    RecordProperty("found_by", found);
    EXPECT_FALSE(found.empty());
}

}  // namespace
}  // namespace penumbra::test::ept_sweep_test
