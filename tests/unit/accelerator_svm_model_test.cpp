// Processes whose pages move while the accelerator works in their addresses; then the same with known bugs planted in
// the shadow table, each of which must show.
#include <gtest/gtest.h>

#include <chrono>

#include "base/planted.hpp"
#include "shadow-mmu/shadow/shadow_bugs.hpp"
#include "tests/support/accelerator_mover.hpp"

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
using abi::PasidFlag;

constexpr std::uint64_t flag(PasidFlag one) { return static_cast<std::uint64_t>(one); }

mmu::ShadowLimits quick() {
    mmu::ShadowLimits limits;
    limits.progress.first_slice = 20us;
    limits.progress.longest_slice = 200us;
    return limits;
}

class SvmMoves : public testing::TestWithParam<std::uint64_t> {};

TEST_P(SvmMoves, NobodyNotices) {
    AcceleratorMachine machine(quick());
    AcceleratorMover mover(machine, {.seed = GetParam(), .commands = 100});
    EXPECT_EQ(mover.run(), "");
    EXPECT_GT(mover.moves(), 20U);
    EXPECT_GT(mover.answered(), 0U);
    EXPECT_GT(machine.device().stats().broken_watches, 20U);
    machine.device().stop();
    EXPECT_EQ(machine.processes().inconsistency(), "");
}

TEST_P(SvmMoves, NobodyNoticesUnderEviction) {
    AcceleratorMachine machine(quick());
    machine.start_evictor(GetParam(), 2000us);
    AcceleratorMover mover(machine, {.seed = GetParam() + 10, .commands = 60});
    EXPECT_EQ(mover.run(), "");
    EXPECT_GT(mover.moves(), 10U);
    machine.stop_evictor();
    EXPECT_EQ(machine.window().violations(), 0U);
    machine.device().stop();
    EXPECT_EQ(machine.processes().inconsistency(), "");
}

TEST_P(SvmMoves, NobodyNoticesWhereTheGuestAnnounces) {
    for (const PasidFlag how : {PasidFlag::announces, PasidFlag::cooperative, PasidFlag::unsync_leaves}) {
        AcceleratorMachine machine(quick());
        machine.start_evictor(GetParam(), 3000us);
        AcceleratorMover mover(machine,
                               {.seed = GetParam(), .commands = 40, .flags = flag(PasidFlag::announces) | flag(how)});
        EXPECT_EQ(mover.run(), "");
        machine.stop_evictor();
        machine.device().stop();
        EXPECT_EQ(machine.processes().inconsistency(), "");
    }
}
INSTANTIATE_TEST_SUITE_P(Seeds, SvmMoves, testing::Values(1, 2, 3));

TEST(SvmMoves, AProcessInAQuarrelBecomesCooperative) {
    mmu::ShadowLimits limits = quick();
    limits.progress.writes_in_window = 4;
    AcceleratorMachine machine(limits);
    AcceleratorMover mover(machine, {.seed = 4, .commands = 60, .flags = flag(PasidFlag::announces)});
    EXPECT_EQ(mover.run(), "");
    EXPECT_EQ(machine.device().stats().cooperative, 1U);
}

#if defined(PENUMBRA_TEST_SWITCHES)

TEST(SvmMoves, SurviveADeviceThatStaysLongOnAPage) {
    const Planted linger(Plant::linger_in_access, 100);
    AcceleratorMachine machine(quick());
    AcceleratorMover mover(machine, {.seed = 5, .commands = 40});
    EXPECT_EQ(mover.run(), "");
    EXPECT_GT(machine.device().stats().broken_in_use, 0U);
}

#if !defined(PENUMBRA_UNDER_TSAN)  // each planted bug is a data race on guest memory

class SvmPlanted : public testing::TestWithParam<mmu::ShadowBug> {};

TEST_P(SvmPlanted, IsNoticed) {
    const Planted linger(Plant::linger_in_access);
    const mmu::PlantedShadowBug bug(GetParam());
    std::string wrong;
    for (std::uint64_t seed = 1; seed <= 5 && wrong.empty(); ++seed) {
        AcceleratorMachine machine(quick());
        AcceleratorMover mover(machine, {.seed = seed, .commands = 30});
        wrong = mover.run();
    }
    EXPECT_NE(wrong, "");
}
INSTANTIATE_TEST_SUITE_P(Bugs, SvmPlanted, testing::Values(mmu::ShadowBug::skip_flush, mmu::ShadowBug::skip_drain));

TEST(SvmPlanted, AnAnnouncementThatIsNotHeededIsNoticed) {
    const mmu::PlantedShadowBug bug(mmu::ShadowBug::invalidate_misses_unsync);
    AcceleratorMachine machine(quick());
    AcceleratorMover mover(
        machine, {.seed = 6, .commands = 60, .flags = flag(PasidFlag::announces) | flag(PasidFlag::cooperative)});
    EXPECT_NE(mover.run(), "");
}

#endif
#endif

}  // namespace
}  // namespace penumbra::test
