// A sample of the conformance sweeps, seeded; tests/walk runs all of them. And: each wrong walk that can be planted is
// found by the sample.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "shadow-mmu/guest_walk/walk_bugs.hpp"
#include "tests/support/walk_sweeps.hpp"

namespace penumbra::test::guest_walk_sweep_test {
namespace {

using mmu::WalkBug;

struct Sample {
    const char* name;
    CaseAt at;
    SweepSpan span;
};

/// A prime stride meets every digit of a case's number.
std::vector<Sample> samples(std::uint64_t thin) {
    const AccessSweep four(Level::top_4, 46);
    const AccessSweep five(Level::top_5, 46);
    const AccessSweep narrow(Level::top_4, 36);
    const AccessSweep wide(Level::top_4, 52);
    const RightsSweep rights(Level::page_4k);
    const RightsSweep large(Level::page_2m);
    const RightsSweep huge(Level::page_1g);
    const RandomSweep random(20'260'101, 60'000 / thin);
    const auto sample = [thin](const char* name, const auto& sweep, std::uint64_t stride) {
        return Sample{name,
                      [sweep](std::uint64_t number) { return sweep.at(number); },
                      {7 % stride, stride * thin, sweep.size(), ~std::uint64_t{0}}};
    };
    return {sample("random", random, 1),
            sample("access, 4 levels", four, 997),
            sample("access, 5 levels", five, 1009),
            sample("access, 36 bits", narrow, 3001),
            sample("access, 52 bits", wide, 1511),
            sample("rights, 4 KiB", rights, 4001),
            sample("rights, 2 MiB", large, 997),
            sample("rights, 1 GiB", huge, 211)};
}

TEST(GuestWalkSweep, SampleAgreesWithTheOracle) {
    std::uint64_t cases = 0;
    for (const Sample& sample : samples(1)) {
        const SweepSummary summary = run_sweep(sample.at, sample.span);
        EXPECT_EQ(summary.differences, 0U) << sample.name << ", " << summary.first;
        EXPECT_GT(summary.faults, 0U) << sample.name << " denies nothing";
        EXPECT_LT(summary.faults, summary.cases) << sample.name << " allows nothing";
        cases += summary.cases;
    }
    RecordProperty("cases", std::to_string(cases));
    EXPECT_GT(cases, 100'000U);
}

// As many as the rules of kvm-unit-tests' x86/access.c give, counted apart from this code.
TEST(GuestWalkSweep, AccessSweepHasEveryLegalCase) {
    for (const Level top : {Level::top_4, Level::top_5}) {
        EXPECT_EQ(AccessSweep(top, 36).size(), 28'999'680U);
        EXPECT_EQ(AccessSweep(top, 37).size(), 19'169'280U);
        EXPECT_EQ(AccessSweep(top, 51).size(), 19'169'280U);
        EXPECT_EQ(AccessSweep(top, 52).size(), 9'338'880U);
    }
}

struct BugName {
    WalkBug bug;
    const char* name;
};
#define BUG(name) \
    BugName { WalkBug::name, #name }

class GuestWalkBug : public testing::TestWithParam<BugName> {};
INSTANTIATE_TEST_SUITE_P(Each, GuestWalkBug,
                         testing::Values(BUG(write_protect_ignored), BUG(write_protect_assumed),
                                         BUG(write_at_leaf_only), BUG(user_at_leaf_only), BUG(execute_at_leaf_only),
                                         BUG(smep_ignored), BUG(smep_needs_nx), BUG(smap_ignores_ac),
                                         BUG(implicit_obeys_ac), BUG(smap_on_fetch), BUG(user_key_on_supervisor_page),
                                         BUG(key_on_fetch), BUG(key_of_upper_entry), BUG(key_ignores_write_protect),
                                         BUG(supervisor_key_ignored), BUG(fetch_flag_always), BUG(key_flag_alone),
                                         BUG(width_off_by_one), BUG(no_execute_unreserved), BUG(large_2m_low_bits),
                                         BUG(large_1g_low_bits), BUG(top_page_size), BUG(gigabyte_unsupported),
                                         BUG(upper_global_ignored), BUG(reserved_when_absent), BUG(mark_before_check),
                                         BUG(leaf_marked_only), BUG(dirty_on_read), BUG(never_dirty),
                                         BUG(pat_of_4k_in_large), BUG(canonical_48), BUG(large_base_unmasked)),
                         [](const auto& test) { return std::string(test.param.name); });
#undef BUG

TEST_P(GuestWalkBug, IsFoundByTheSample) {
    const mmu::PlantedWalkBug planted(GetParam().bug);
    std::string found;
    for (Sample& sample : samples(4)) {
        sample.span.enough = 1;
        const SweepSummary summary = run_sweep(sample.at, sample.span);
        if (summary.differences == 0) continue;
        if (!found.empty()) found += "; ";
        found += std::string(sample.name) + " after " + std::to_string(summary.cases);
    }
    RecordProperty("found_by", found);
    EXPECT_FALSE(found.empty());
}

}  // namespace
}  // namespace penumbra::test::guest_walk_sweep_test
