#include "tests/sim/simulation.hpp"

#include <gtest/gtest.h>

#include "base/planted.hpp"

namespace penumbra::test {
namespace {

constexpr unsigned steps = 500;

void add(Simulation::Seen& total, const Simulation::Seen& seen) {
    total.installed += seen.installed;
    total.held_off += seen.held_off;
    total.interrupted += seen.interrupted;
    total.would_block += seen.would_block;
    total.taken += seen.taken;
    total.kept += seen.kept;
    total.device_hits += seen.device_hits;
}

TEST(Simulation, EverySeedKeepsEveryPromise) {
    const std::uint64_t first = wanted_seed().value_or(0);
    const std::uint64_t seeds = wanted_seed() ? 1 : 200;
    Simulation::Seen total;
    for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
        Simulation simulation(seed);
        const auto wrong = simulation.run(steps);
        ASSERT_FALSE(wrong) << *wrong;
        add(total, simulation.seen());
    }
    if (seeds == 1) return;
    // Otherwise the seeds pass by everything that matters.
    EXPECT_GT(total.installed, 1000U);
    EXPECT_GT(total.held_off, 1000U);
    EXPECT_GT(total.interrupted, 1000U);
    EXPECT_GT(total.would_block, 500U);
    EXPECT_GT(total.taken, 1000U);
    EXPECT_GT(total.kept, 50U);
    EXPECT_GT(total.device_hits, 500U);
}

TEST(Simulation, OneSeedIsOneRun) {
    const auto run = [](std::uint64_t seed) {
        Simulation simulation(seed);
        (void)simulation.run(steps);
        const auto& seen = simulation.seen();
        return std::array{seen.installed,   seen.held_off, seen.interrupted,
                          seen.would_block, seen.taken,    seen.device_hits};
    };
    EXPECT_EQ(run(42), run(42));
    EXPECT_NE(run(42), run(43));
}

#if defined(PENUMBRA_TEST_SWITCHES)

class SimulationCatches : public testing::TestWithParam<Plant> {};

TEST_P(SimulationCatches, ThePlantedBug) {
    const Planted planted(GetParam());
    std::optional<std::string> wrong;
    for (std::uint64_t seed = 0; seed < 20 && !wrong; ++seed) {
        Simulation simulation(seed);
        wrong = simulation.run(steps);
    }
    EXPECT_TRUE(wrong);
}
INSTANTIATE_TEST_SUITE_P(Plants, SimulationCatches,
                         testing::Values(Plant::skip_ept_zap, Plant::skip_device_zap, Plant::skip_ept_flush,
                                         Plant::skip_device_flush, Plant::skip_sequence_recheck));

#endif

}  // namespace
}  // namespace penumbra::test
