// The churn workload judged on the host: right memory passes, and damage is named exactly.
#include "guest-images/common/churn_core.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/churn_test_machine.hpp"

namespace penumbra::guest {
namespace {

using Statuses = std::vector<ChurnStatus>;
const Statuses all_right(2, ChurnStatus::right);
const Statuses all_wrong(2, ChurnStatus::mismatches);

std::string hex(std::uint64_t value) {
    alignas(8) std::uint8_t block[64];
    TextLine(block, sizeof(block)).hex(value);
    std::uint64_t bytes = 0;
    std::memcpy(&bytes, block, sizeof(bytes));
    return {reinterpret_cast<const char*>(block) + sizeof(bytes), bytes};
}

TEST(ChurnCore, RightMemoryHasNoMismatchAndEveryPageIsVerifiedTwice) {
    TestMachine machine;
    EXPECT_EQ(churn(machine), all_right);
    const ChurnLayout layout(machine.boot);
    EXPECT_EQ(machine.report.pages_total, layout.pages());
    EXPECT_EQ(machine.report.mismatches, 0U);
    EXPECT_EQ(machine.report.accelerator_mismatches, 0U);
    EXPECT_GT(machine.report.accelerator_sums, 0U);
    EXPECT_GE(machine.report.min_verifications, 2U);
    EXPECT_EQ(machine.report.passes, 3U);
    EXPECT_GE(machine.report.pages_verified, 3 * layout.pages());
    EXPECT_LE(machine.report.work_done, machine.report.work_total);
    EXPECT_EQ(machine.console, (std::vector<std::string>{"fill", "pass 1/1 sequential", "pass 1/1 strided",
                                                         "pass 1/1 Zipf", "pass 1/1 uniform", "final verification"}));
}

TEST(ChurnCore, NoPayloadAndNoAcceleratorWorkToo) {
    TestMachine machine;
    machine.boot.payload_pages = 0;
    machine.boot.has_accelerator = 0;
    EXPECT_EQ(churn(machine), all_right);
    EXPECT_EQ(machine.report.accelerator_sums, 0U);
}

TEST(ChurnCore, OneFlippedBitIsNamedExactly) {
    for (const std::uint64_t own : {std::uint64_t{0}, std::uint64_t{300}, std::uint64_t{1025}}) {
        TestMachine machine;
        const ChurnLayout layout(machine.boot);
        const std::uint64_t gpa = layout.gpa(layout.page(0, own));
        machine.on_line = [&](const std::string& line) {
            if (line == "pass 1/1 strided") machine.ram(gpa)[own] ^= 0x10;
        };
        EXPECT_EQ(churn(machine), all_wrong);
        EXPECT_EQ(machine.report.mismatches, 1U);
        EXPECT_EQ(machine.report.first_bad_gpa, gpa);
        const std::string wanted = "page gpa " + hex(gpa) + " expected generation 2, found 2: crc differs";
        EXPECT_EQ(std::count(machine.console.begin(), machine.console.end(), wanted), 1) << wanted;
    }
}

TEST(ChurnCore, AnOldGenerationIsNamed) {
    TestMachine machine;
    const ChurnLayout layout(machine.boot);
    const std::uint64_t gpa = layout.gpa(layout.page(0, 77));
    std::vector<std::uint8_t> old(page_bytes);
    machine.on_line = [&](const std::string& line) {
        if (line == "pass 1/1 sequential") std::memcpy(old.data(), machine.ram(gpa), page_bytes);
        if (line == "pass 1/1 strided") std::memcpy(machine.ram(gpa), old.data(), page_bytes);
    };
    EXPECT_EQ(churn(machine), all_wrong);
    const std::string wanted = "page gpa " + hex(gpa) + " expected generation 2, found 1: generation differs";
    EXPECT_EQ(std::count(machine.console.begin(), machine.console.end(), wanted), 1);
}

TEST(ChurnCore, AMisplacedPageIsNamedAndAFloodOfThemIsNot) {
    TestMachine machine;
    const ChurnLayout layout(machine.boot);
    machine.on_line = [&](const std::string& line) {
        if (line != "final verification") return;
        for (std::uint64_t own = 1; own <= 40; ++own) {
            std::memcpy(machine.ram(layout.gpa(layout.page(0, own))), machine.ram(layout.gpa(layout.page(0, 0))),
                        page_bytes);
        }
    };
    EXPECT_EQ(churn(machine), all_wrong);
    EXPECT_EQ(machine.report.mismatches, 40U);
    EXPECT_EQ(machine.report.first_bad_gpa, layout.gpa(layout.page(0, 1)));
    EXPECT_EQ(machine.console.size(), 6 + ChurnShared<TestPlatform>::complaint_limit);
    EXPECT_NE(machine.console.back().find("stamp is not this page's"), std::string::npos);
}

TEST(ChurnCore, OneLieOfTheAcceleratorIsCountedOnce) {
    TestMachine machine;
    machine.lies = 1;
    EXPECT_EQ(churn(machine), all_wrong);
    EXPECT_EQ(machine.report.mismatches, 0U);
    EXPECT_EQ(machine.report.accelerator_mismatches, 1U);
}

TEST(ChurnCore, LostFillsAndCopiesOfTheAcceleratorAreFound) {
    TestMachine machine;
    machine.drops_writes = true;
    EXPECT_EQ(churn(machine), all_wrong);
    EXPECT_GE(machine.report.accelerator_mismatches, 2U);
}

TEST(ChurnCore, ADeadAcceleratorIsCountedOnceAndMemoryIsStillVerified) {
    TestMachine machine;
    machine.stops_at_doorbell = true;
    EXPECT_EQ(churn(machine), all_wrong);
    EXPECT_EQ(machine.report.accelerator_mismatches, 1U);
    EXPECT_EQ(machine.report.mismatches, 0U);
    EXPECT_EQ(machine.report.passes, 3U);
    const auto silent = [](const std::string& line) { return line.starts_with("accelerator gave no answer to "); };
    EXPECT_EQ(std::count_if(machine.console.begin(), machine.console.end(), silent), 1);
}

TEST(ChurnCore, AnAcceleratorThatDoesNotStartIsASetupError) {
    TestMachine machine;
    machine.refuses_to_start = true;
    EXPECT_EQ(churn(machine), Statuses(2, ChurnStatus::setup_error));
}

TEST(ChurnCore, TooLittleMemoryIsASetupError) {
    TestMachine machine;
    machine.boot.low_ram_bytes = 2ULL << 20;
    machine.boot.high_ram_bytes = 0;
    EXPECT_EQ(churn(machine), Statuses(2, ChurnStatus::setup_error));
}

TEST(ChurnCore, AnEarlyFinishStillVerifiesEveryPageTwice) {
    TestMachine machine;
    machine.finish_early = 1;
    machine.boot.passes = 1'000'000;
    EXPECT_EQ(churn(machine), all_right);
    EXPECT_GE(machine.report.min_verifications, 2U);
    EXPECT_GE(machine.report.passes, 2U);
}

}  // namespace
}  // namespace penumbra::guest
