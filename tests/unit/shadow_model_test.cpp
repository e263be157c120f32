#include "tests/support/shadow_model.hpp"

#include <gtest/gtest.h>

namespace penumbra::test {
namespace {

class ShadowModel : public testing::TestWithParam<ShadowModelOptions> {};

TEST_P(ShadowModel, EveryTranslationIsTrueAfterEveryStep) {
    ShadowModelOptions options = GetParam();
    ShadowModelReach reach;
    for (const std::uint64_t last = options.seed + 24; options.seed < last; ++options.seed) {
        ASSERT_EQ(run_shadow_model(options, &reach), "");
    }
    EXPECT_GT(reach.reached, 200U);
    EXPECT_GT(reach.refused, 200U);
    EXPECT_GT(reach.own_table, 0U);
    EXPECT_GT(reach.interrupted, 200U);
    EXPECT_GT(reach.waited, 50U);
    EXPECT_GT(reach.broken, 200U);
    EXPECT_GT(reach.synced, 50U);
    EXPECT_EQ(reach.evicted > 0, options.quota < 64);
    RecordProperty("reached", static_cast<int>(reach.reached));
    RecordProperty("floods", static_cast<int>(reach.floods));
    RecordProperty("full_flushes", static_cast<int>(reach.full_flushes));
}

INSTANTIATE_TEST_SUITE_P(Worlds, ShadowModel,
                         testing::Values(ShadowModelOptions{.seed = 1}, ShadowModelOptions{.seed = 1001, .quota = 16},
                                         ShadowModelOptions{.seed = 2001, .own = mmu::OwnWrites::pass}));

}  // namespace
}  // namespace penumbra::test
