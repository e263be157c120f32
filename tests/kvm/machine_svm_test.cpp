// The svm image on KVM: page tables change under the accelerator's work in them, over four times the budget, and all
// that the device did is right; with one part of the protocol left out the image notices.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <variant>

#include "base/planted.hpp"
#include "shadow-mmu/shadow/shadow_bugs.hpp"
#include "tests/support/machine_fixture.hpp"

namespace penumbra::vmm::test {
namespace {

std::string name_of(SvmMode mode) {
    constexpr const char* names[] = {"Watch", "Unsync", "Cooperative"};
    return names[static_cast<std::size_t>(mode)];
}

RunOptions svm(SvmMode mode, std::uint64_t changes) {
    RunOptions options = machine_options(PENUMBRA_GUEST_IMAGES "/svm");
    options.memory_bytes = 64 * mib;
    options.cpus = 2;
    options.accelerator = true;
    options.svm_mode = mode;
    options.svm_changes = changes;
    return options;
}

std::string text_of(const TestMachine& machine) {
    std::string text;
    for (const std::string& line : machine.lines()) text += line + "\n";
    return text;
}

class MachineSvm : public MachineTest, public testing::WithParamInterface<SvmMode> {};

TEST_P(MachineSvm, IsRightWhileTablesChangeUnderTheDevice) {
    const std::uint64_t changes = 4000 / std::min(slowness(), 4U);
    TestMachine machine(svm(GetParam(), changes));
    ASSERT_TRUE(machine.wait_for(MachineState::ended)) << text_of(machine);
    const MachineStatus status = machine->status();
    EXPECT_FALSE(status.error.has_value()) << status.error->message();
    EXPECT_EQ(status.exit_status, std::uint64_t{0}) << text_of(machine);
    const RunReport report = machine.report();
    EXPECT_EQ(report.guest.mismatches, 0U);
    EXPECT_GE(report.guest.svm.changes, changes);
    EXPECT_GE(report.guest.svm.in_use, changes / 20);
    EXPECT_GE(report.guest.svm.commands, changes / 8) << "the device gets on";
    EXPECT_EQ(report.guest.svm.announcements != 0, GetParam() != SvmMode::watch);
    EXPECT_EQ(report.accelerator.processes.broken_watches != 0, GetParam() != SvmMode::cooperative);
    if (GetParam() != SvmMode::unsync) {
        EXPECT_EQ(report.accelerator.processes.cooperative, 0U) << "no other may become it";
    }
    EXPECT_GT(report.accelerator.page_requests_out, 0U) << "the device found pages swapped out";
    EXPECT_EQ(report.memory.pinned_bytes, 0U);
    EXPECT_LE(report.memory.peak_charged_bytes, report.memory.budget_bytes + report.memory.budget_bytes / 20);
    for (const auto& [name, table] : report.tables) EXPECT_EQ(table.stale_faults, 0U) << name;
}

INSTANTIATE_TEST_SUITE_P(Modes, MachineSvm, testing::Values(SvmMode::watch, SvmMode::unsync, SvmMode::cooperative),
                         [](const auto& mode) { return name_of(mode.param); });

TEST_F(MachineTest, ASingleCpuFeedsTheDeviceAndChangesTables) {
    RunOptions options = svm(SvmMode::watch, 1000);
    options.cpus = 1;
    TestMachine machine(options);
    ASSERT_TRUE(machine.wait_for(MachineState::ended)) << text_of(machine);
    EXPECT_EQ(machine->status().exit_status, std::uint64_t{0}) << text_of(machine);
    EXPECT_GE(machine.report().guest.svm.changes, 1000U);
}

#if defined(PENUMBRA_TEST_SWITCHES)

struct Flaw {
    const char* name;
    SvmMode mode;
    std::variant<Plant, mmu::ShadowBug> bug;
};
void PrintTo(const Flaw& flaw, std::ostream* out) { *out << flaw.name; }

class MachineSvmFlaws : public MachineTest, public testing::WithParamInterface<Flaw> {};

TEST_P(MachineSvmFlaws, AreNoticed) {
    std::optional<Planted> plant;
    std::optional<mmu::PlantedShadowBug> bug;
    if (const auto* which = std::get_if<Plant>(&GetParam().bug)) plant.emplace(*which);
    if (const auto* which = std::get_if<mmu::ShadowBug>(&GetParam().bug)) bug.emplace(*which);
    RunOptions options = svm(GetParam().mode, 3000);
    options.memory_bytes = 24 * mib;
    options.stale_faults = StaleFaults::count;
    // Some flaws leave a door open for microseconds only, and a short run may miss it.
    constexpr std::uint64_t most_runs = 20;
    for (options.seed = 1; options.seed <= most_runs; ++options.seed) {
        options.swap = machine_options(options.image).swap;
        TestMachine machine(options);
        ASSERT_TRUE(machine.wait_for(MachineState::ended)) << text_of(machine);
        if (machine->status().exit_status == std::uint64_t{0}) continue;
        EXPECT_EQ(machine->status().exit_status, std::uint64_t{1}) << text_of(machine);
        EXPECT_GT(machine.report().guest.mismatches, 0U);
        EXPECT_NE(text_of(machine).find(", expected 0x"), std::string::npos) << "it says what was wrong";
        return;
    }
    FAIL() << "nothing was noticed in " << most_runs << " runs";
}

using mmu::ShadowBug;
INSTANTIATE_TEST_SUITE_P(
    Protocol, MachineSvmFlaws,
    testing::Values(Flaw{"WriteUntold", SvmMode::watch, Plant::skip_guest_write},
                    Flaw{"SkipFlush", SvmMode::watch, ShadowBug::skip_flush},
                    Flaw{"UnwatchBeforeZap", SvmMode::watch, ShadowBug::unwatch_before_zap},
                    Flaw{"SkipDrain", SvmMode::watch, ShadowBug::skip_drain},
                    Flaw{"MissedChildSync", SvmMode::watch, ShadowBug::missed_child_sync},
                    Flaw{"UnsyncAnnouncementOverlooked", SvmMode::unsync, ShadowBug::invalidate_misses_unsync},
                    Flaw{"AnnouncementOverlooked", SvmMode::cooperative, ShadowBug::invalidate_misses_unsync},
                    Flaw{"StaleRootReuse", SvmMode::cooperative, ShadowBug::stale_root_reuse},
                    Flaw{"CooperativeSkipFlush", SvmMode::cooperative, ShadowBug::skip_flush}),
    [](const auto& flaw) { return std::string(flaw.param.name); });

#endif

}  // namespace
}  // namespace penumbra::vmm::test
