// The svm workload judged on the host: a device that does what it should passes, and each that does not is found out.
#include "guest-images/common/svm_core.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/svm_test_machine.hpp"

namespace penumbra::guest {
namespace {

std::string last_lines(const SvmTestMachine& machine) {
    std::string text;
    for (const std::string& line : machine.console) text += line + "\n";
    return text;
}
bool says(const SvmTestMachine& machine, const std::string& part) {
    return std::ranges::any_of(machine.console,
                               [&](const std::string& line) { return line.find(part) != std::string::npos; });
}

class SvmCore : public testing::TestWithParam<abi::SvmMode> {};

TEST_P(SvmCore, ARightDevicePasses) {
    SvmTestMachine machine(GetParam());
    EXPECT_EQ(run(machine), SvmStatus::right) << last_lines(machine);
    const abi::Report::Svm& svm = machine.report.svm;
    EXPECT_EQ(machine.report.mismatches, 0U);
    EXPECT_GE(svm.changes, machine.boot.svm_changes);
    EXPECT_GE(svm.in_use, svm.changes / 10);
    EXPECT_GE(svm.commands, svm.changes / 4);
    EXPECT_GT(svm.page_requests, 10U);
    EXPECT_EQ(svm.empty, 0U);
    EXPECT_EQ(svm.announcements != 0, GetParam() != abi::SvmMode::watch);
    EXPECT_GE(machine.report.pages_verified, machine.report.pages_total);
    EXPECT_EQ(machine.report.min_verifications, 1U);
}

TEST_P(SvmCore, ManySeedsPass) {
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        SvmTestMachine machine(GetParam());
        machine.boot.seed = seed;
        machine.boot.svm_changes = 500;
        EXPECT_EQ(run(machine), SvmStatus::right) << "seed " << seed << "\n" << last_lines(machine);
    }
}

INSTANTIATE_TEST_SUITE_P(Modes, SvmCore,
                         testing::Values(abi::SvmMode::watch, abi::SvmMode::unsync, abi::SvmMode::cooperative));

void expect_found(abi::SvmMode mode, SvmFault fault, const std::string& part) {
    SvmTestMachine machine(mode, fault);
    EXPECT_EQ(run(machine), SvmStatus::mismatches);
    EXPECT_GT(machine.report.mismatches, 0U);
    EXPECT_GT(machine.report.first_bad_gpa, 0U);
    EXPECT_TRUE(says(machine, part)) << last_lines(machine);
}

TEST(SvmCoreFaults, TranslationsThatOutliveTheirEntriesAreFound) {
    expect_found(abi::SvmMode::watch, SvmFault::keeps_translations, ": sum ");
}
TEST(SvmCoreFaults, LateWritesAreFound) { expect_found(abi::SvmMode::watch, SvmFault::keeps_targets, "page at gpa "); }
TEST(SvmCoreFaults, AnnouncementsThatDoNothingAreFound) {
    expect_found(abi::SvmMode::cooperative, SvmFault::ignores_announcements, ": sum ");
}
TEST(SvmCoreFaults, AccessesThatTheTablesForbidAreFound) {
    expect_found(abi::SvmMode::watch, SvmFault::permits_all, ": sum ");
}
TEST(SvmCoreFaults, LostWritesAreFound) { expect_found(abi::SvmMode::watch, SvmFault::drops_fills, "page at gpa "); }
TEST(SvmCoreFaults, FaultsThatTheGuestWasNotAskedAboutAreFound) {
    expect_found(abi::SvmMode::watch, SvmFault::fails_unasked, ": result 0x4, expected 0x1");
}
TEST(SvmCoreFaults, RequestsWithoutACauseAreFound) {
    expect_found(abi::SvmMode::watch, SvmFault::asks_for_nothing, "page request without a cause");
}
TEST(SvmCoreFaults, WorkOnARefusedPageIsFound) {
    expect_found(abi::SvmMode::watch, SvmFault::works_on, ": refused address ");
}
TEST(SvmCoreFaults, ADeadDeviceIsCountedOnceAndMemoryIsStillVerified) {
    SvmTestMachine machine(abi::SvmMode::watch, SvmFault::stops);
    EXPECT_EQ(run(machine), SvmStatus::mismatches);
    EXPECT_EQ(machine.report.mismatches, 1U) << last_lines(machine);
    EXPECT_TRUE(says(machine, "accelerator gave no answer to "));
    EXPECT_EQ(machine.report.min_verifications, 1U);
}

TEST(SvmCoreSetUp, AnEarlyFinishStillVerifies) {
    SvmTestMachine machine(abi::SvmMode::watch);
    machine.finish_early = 1;
    machine.boot.svm_changes = 1'000'000;
    EXPECT_EQ(run(machine), SvmStatus::right) << last_lines(machine);
    EXPECT_LT(machine.report.svm.changes, 200'000U);
    EXPECT_EQ(machine.report.min_verifications, 1U);
}
TEST(SvmCoreSetUp, NoAcceleratorIsASetupError) {
    SvmTestMachine machine(abi::SvmMode::watch);
    machine.boot.has_accelerator = 0;
    EXPECT_EQ(run(machine), SvmStatus::setup_error);
    EXPECT_TRUE(says(machine, "--accel"));
}
TEST(SvmCoreSetUp, TooLittleMemoryIsASetupError) {
    SvmTestMachine machine(abi::SvmMode::watch);
    machine.boot.low_ram_bytes = 8ULL << 20;
    EXPECT_EQ(run(machine), SvmStatus::setup_error);
}

}  // namespace
}  // namespace penumbra::guest
