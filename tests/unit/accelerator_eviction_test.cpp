// The accelerator works while its pages are taken from under it: everything must come out as in a model. Then known
// bugs are planted in the invalidation path, and the same machine must notice each.
#include <gtest/gtest.h>

#include <chrono>

#include "base/planted.hpp"
#include "tests/support/accelerator_machine.hpp"
#include "tests/support/accelerator_workload.hpp"

#if defined(__SANITIZE_THREAD__)
#define PENUMBRA_UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PENUMBRA_UNDER_TSAN 1
#endif
#endif

namespace penumbra::test {
namespace {

using namespace std::chrono_literals;

TEST(AcceleratorEviction, WorksAsTheModelWithoutEviction) {
    AcceleratorMachine machine;
    AcceleratorWorkload workload(machine, 1);
    EXPECT_EQ(workload.run(1000), 0U);
    EXPECT_FALSE(workload.hung());
    EXPECT_EQ(machine.window().violations(), 0U);
}

class UnderEviction : public testing::TestWithParam<std::uint64_t> {};

TEST_P(UnderEviction, WorksAsTheModel) {
    AcceleratorMachine machine;
    machine.start_evictor(GetParam(), 300us);
    AcceleratorWorkload workload(machine, GetParam() + 100);
    EXPECT_EQ(workload.run(3000), 0U);
    EXPECT_FALSE(workload.hung());
    machine.stop_evictor();
    const auto stats = machine.device().stats();
    EXPECT_GE(stats.commands, 3000U);
    EXPECT_GT(stats.page_requests, 100U);
    EXPECT_GT(stats.page_requests_out, 0U);
    EXPECT_LE(stats.page_requests_out, stats.page_requests);
    EXPECT_GT(machine.window().taken(), 100U);
    EXPECT_EQ(machine.window().violations(), 0U);
    EXPECT_EQ(machine.errors(), 0U);
}
INSTANTIATE_TEST_SUITE_P(Seeds, UnderEviction, testing::Values(1, 2, 3));

#if defined(PENUMBRA_TEST_SWITCHES)

TEST(AcceleratorEviction, SurvivesAWideWindowBetweenResolveAndInstall) {
    AcceleratorMachine machine;
    const Planted delay(Plant::delay_before_install, 400);
    machine.start_evictor(7, 6000us);
    AcceleratorWorkload workload(machine, 8);
    EXPECT_EQ(workload.run(400), 0U);
    EXPECT_FALSE(workload.hung());
    EXPECT_GT(machine.table().counters().retries.get(), 0U);
}

#if !defined(PENUMBRA_UNDER_TSAN)  // each planted bug is a data race on guest memory

/// Commands until the workload goes wrong, at most `commands`.
std::uint64_t wrong_with(Plant plant, std::chrono::microseconds longest_pause, std::uint64_t commands) {
    AcceleratorMachine machine;
    machine.start_evictor(11, longest_pause);
    const Planted planted(plant);
    AcceleratorWorkload workload(machine, 12);
    const std::uint64_t wrong = workload.run(commands);
    EXPECT_FALSE(workload.hung());
    return wrong;
}

TEST(AcceleratorPlanted, AKeptTlbEntryIsNoticed) { EXPECT_GT(wrong_with(Plant::skip_device_flush, 300us, 10'000), 0U); }

TEST(AcceleratorPlanted, AKeptTableEntryIsNoticed) { EXPECT_GT(wrong_with(Plant::skip_device_zap, 300us, 10'000), 0U); }

TEST(AcceleratorPlanted, AnInstallAcrossAnInvalidationIsNoticed) {
    const Planted delay(Plant::delay_before_install);
    EXPECT_GT(wrong_with(Plant::skip_sequence_recheck, 4000us, 2'000), 0U);
}

TEST(AcceleratorPlanted, AnAccessThatIsNotWaitedForIsNoticed) {
    EXPECT_GT(wrong_with(Plant::skip_drain, 20us, 50'000), 0U);
}

#endif
#endif

}  // namespace
}  // namespace penumbra::test
