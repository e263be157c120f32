// Production's bridge, tables, fault handler and pager under simulated threads.
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "tests/sim/mutants.hpp"
#include "tests/sim/race_scene.hpp"
#include "tests/sim/shrink.hpp"
#include "tests/sim/threads.hpp"

namespace penumbra::test::sim {
namespace {

TEST(Simulation, EverySeedKeepsEveryPromise) {
    constexpr std::uint64_t count = 600;
    const Report report = play_apart(seeds(0, count));
    if (report.failure) {
        const std::uint64_t seed = report.failure->index;
        const std::optional<Shrunk> shrunk = shrink(seed);
        FAIL() << "./x sim " << seed << "\n" << (shrunk ? text_of(*shrunk) : report.failure->what);
    }
    EXPECT_EQ(report.seen.seeds, count);
    EXPECT_GT(report.seen.steps, 300'000U);
    EXPECT_GT(report.seen.rescued, 100U);
    EXPECT_GT(report.seen.swapped_in, 100U);
    EXPECT_GT(report.seen.kept, 20U);
    EXPECT_GT(report.seen.would_block, 50U);
    for (std::size_t op = 0; op < op_count; ++op)
        EXPECT_GT(report.seen.runs[op], 0U) << name_of(Op{static_cast<std::uint8_t>(op)});
}

TEST(Simulation, OneSeedIsOneInterleaving) {
    for (const std::uint64_t seed : {3U, 4U, 5U, 6U}) {
        const Report once = play_apart(seeds(seed, 1));
        const Report again = play_apart(seeds(seed, 1));
        // Also when other seeds ran before it.
        const Report later = play_apart(seeds(seed - 3, 4));
        const Report before = play_apart(seeds(seed - 3, 3));
        EXPECT_EQ(once.seen.steps, again.seen.steps);
        EXPECT_EQ(once.seen.pairs, again.seen.pairs);
        EXPECT_EQ(later.seen.steps - before.seen.steps, once.seen.steps);
    }
}

TEST(Simulation, AFailureIsMadeSmall) {
    const Planted planted(Plant::skip_sequence_recheck);
    const Report report = play_apart(seeds(0, 100));
    ASSERT_TRUE(report.failure);
    const std::uint64_t seed = report.failure->index;
    const std::optional<Shrunk> shrunk = shrink(seed);
    ASSERT_TRUE(shrunk);
    EXPECT_EQ(shrunk->failure.kind(), report.failure->kind());
    EXPECT_LE(shrunk->plan.actions(), 6U);
    EXPECT_LT(shrunk->plan.actions(), plan_of(seed).actions());
    EXPECT_NE(shrunk->failure.trace, "");
}

class SimulationFinds : public testing::TestWithParam<Mutant> {};

TEST_P(SimulationFinds, ThePlantedBug) {
    constexpr std::uint64_t most = 6000;
    EXPECT_TRUE(hunt(GetParam(), 0, most));
}
INSTANTIATE_TEST_SUITE_P(Plants, SimulationFinds, testing::ValuesIn(mutants().begin(), mutants().end()),
                         [](const auto& one) { return std::string(one.param.name); });

struct SmallScene {
    const char* name;
    std::vector<Part> parts;
};
class AllInterleavings : public testing::TestWithParam<SmallScene> {};

TEST_P(AllInterleavings, KeepEveryPromise) {
    Exploration found;
    const Report report = explore_race(GetParam().parts, Grain::writes, Reduction::sleep_sets, 1'000'000, found);
    EXPECT_FALSE(report.failure) << report.failure->what << '\n' << report.failure->trace;
    EXPECT_TRUE(found.complete);
    EXPECT_GT(found.runs, 1000U);
}
INSTANTIATE_TEST_SUITE_P(Scenes, AllInterleavings,
                         testing::Values(SmallScene{"FaultSwapFault", {Part::fault, Part::swap_out, Part::fault}},
                                         SmallScene{"FaultSwapDiscard", {Part::fault, Part::swap_out, Part::discard}},
                                         SmallScene{"FaultSwapSwapNow",
                                                    {Part::fault, Part::swap_out, Part::swap_out_now}}),
                         [](const auto& one) { return std::string(one.param.name); });

TEST(Exploration, FindsWhatOneOrderInManyShows) {
    const Planted planted(Plant::recheck_before_claim);
    Exploration found;
    const Report report =
        explore_race({Part::fault, Part::swap_out, Part::fault}, Grain::reads, Reduction::sleep_sets, 100'000, found);
    EXPECT_TRUE(report.failure);
}

}  // namespace
}  // namespace penumbra::test::sim
