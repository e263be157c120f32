// Production's bridge, tables, fault handler and pager under simulated threads.
#include <gtest/gtest.h>

#include <array>
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
    const Report report = explore_race({.parts = GetParam().parts}, found);
    EXPECT_FALSE(report.failure) << report.failure->what << '\n' << report.failure->trace;
    EXPECT_TRUE(found.complete);
    EXPECT_GT(found.states, 1000U);
}
INSTANTIATE_TEST_SUITE_P(Scenes, AllInterleavings,
                         testing::Values(SmallScene{"FaultSwapFault", {Part::fault, Part::swap_out, Part::fault}},
                                         SmallScene{"FaultSwapDiscard", {Part::fault, Part::swap_out, Part::discard}},
                                         SmallScene{"FaultSwapSwapNow",
                                                    {Part::fault, Part::swap_out, Part::swap_out_now}}),
                         [](const auto& one) { return std::string(one.param.name); });

// Leaving what was met before leaves nothing out: the same states are met as without, in fewer runs; and where all
// orders are gone through, no others.
TEST(Exploration, MeetsTheSameStatesWhateverIsReduced) {
    struct Case {
        std::vector<Part> parts;
        Grain grain;
        unsigned steps = Explorer::all_steps;
    };
    using enum Part;
    const std::array cases{Case{{fault, swap_out}, Grain::reads, 7}, Case{{device_fault, discard}, Grain::writes, 6},
                           Case{{swap_out, swap_out_now}, Grain::writes},
                           Case{{fault, swap_out, discard}, Grain::writes, 3},
                           Case{{fault, device_fault, swap_out}, Grain::writes, 2}};
    for (const Case& one : cases) {
        SCOPED_TRACE(testing::Message() << "case " << &one - cases.data());
        Exploration full;
        Exploration reduced;
        Scope scope{one.parts, one.grain, Reduction::none, one.steps, 1'000'000, Count::states};
        EXPECT_FALSE(explore_race(scope, full).failure);
        scope.reduction = Reduction::states;
        EXPECT_FALSE(explore_race(scope, reduced).failure);
        EXPECT_TRUE(full.complete && reduced.complete);
        EXPECT_GT(full.states, 30U);
        EXPECT_EQ(full.states, reduced.states);
        EXPECT_LT(reduced.runs, full.runs);
    }
}

class ExplorationFinds : public testing::TestWithParam<Plant> {};

TEST_P(ExplorationFinds, ThePlantedBug) {
    const Planted planted(GetParam());
    Exploration found;
    EXPECT_TRUE(explore_race({.parts = {Part::fault, Part::device_fault, Part::swap_out}}, found).failure);
}
INSTANTIATE_TEST_SUITE_P(Plants, ExplorationFinds,
                         testing::Values(Plant::skip_ept_zap, Plant::skip_device_zap, Plant::skip_sequence_recheck,
                                         Plant::lift_early, Plant::skip_commit, Plant::skip_device_flush,
                                         Plant::end_uncounted));

TEST(Exploration, FindsWhatOneOrderInManyShows) {
    const Planted planted(Plant::recheck_before_claim);
    Exploration found;
    const Report report =
        explore_race({.parts = {Part::fault, Part::swap_out, Part::fault}, .grain = Grain::reads}, found);
    EXPECT_TRUE(report.failure);
}

}  // namespace
}  // namespace penumbra::test::sim
