// KVM's own interrupt hardware on the real /dev/kvm: doorbells, messages, pins, the start of other processors, reset.
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "tests/kvm/platform_machine.hpp"
#include "tests/support/machine_fixture.hpp"
#include "tests/support/pc_guest.hpp"

namespace penumbra::vmm::test {
namespace {

namespace pc_guest = penumbra::test::pc_guest;

constexpr Gpa doorbell{pc_guest::doorbell_at};

Told arrived(std::uint32_t cpu, std::uint64_t vector) {
    return {cpu, pc_guest::told_at, std::uint64_t{cpu} << 32 | vector};
}

class KernelChipsTest : public testing::Test {
protected:
    void SetUp() override {
        if (const auto kvm = Kvm::open(); !kvm) GTEST_SKIP() << kvm.error().message();
        auto machine = PlatformMachine::create(2);
        ASSERT_TRUE(machine) << machine.error().message();
        machine_ = std::move(*machine);
    }
    void TearDown() override {
        if (machine_) {
            EXPECT_EQ(machine_->trouble(), "");
        }
    }
    void start(const std::string& commands) {
        const Result<> started = machine_->start(commands);
        ASSERT_TRUE(started) << started.error().message();
    }
    [[nodiscard]] bool says(const std::string& part) {
        return eventually([&] { return machine_->said().find(part) != std::string::npos || !good(); }) && good();
    }
    [[nodiscard]] bool good() { return machine_->trouble().empty(); }
    /// How often the guest told so.
    [[nodiscard]] std::ptrdiff_t count(const Told& what) { return std::ranges::count(machine_->told(), what); }
    [[nodiscard]] bool tells(const Told& what, std::ptrdiff_t times = 1) {
        return eventually([&] { return count(what) >= times || !good(); }) && good();
    }
    [[nodiscard]] bool other_cpu_comes_up() {
        return eventually([&] {
                   return !machine_->command("n") || machine_->said().find("cpus 00000001") != std::string::npos ||
                          !good();
               }) &&
               good();
    }
    void start_waiting() {
        start("pich");
        ASSERT_TRUE(tells(arrived(0, pc_guest::waits)) && tells(arrived(1, pc_guest::waits))) << machine_->trouble();
    }
    /// What the guest found at its start.
    [[nodiscard]] std::string state() {
        EXPECT_TRUE(eventually([&] { return state_line().ends_with('\n') || !good(); }));
        return state_line();
    }
    [[nodiscard]] std::string state_line() {
        const std::string said = machine_->said();
        const std::size_t at = said.find("state ");
        return at == std::string::npos ? "" : said.substr(at, said.find('\n', at) - at + 1);
    }

    std::unique_ptr<PlatformMachine> machine_;
};

std::uint64_t taken_from(const UniqueFd& event) {
    std::uint64_t value = 0;
    return ::read(event.get(), &value, sizeof(value)) == sizeof(value) ? value : 0;
}

TEST_F(KernelChipsTest, ABoundDoorbellWakesTheDeviceAndDoesNotComeOut) {
    const UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    ASSERT_TRUE(machine_->chips().bind(doorbell, 2, event.get()));
    ASSERT_NO_FATAL_FAILURE(start("www"));
    ASSERT_TRUE(says("rung\nrung\nrung\n")) << machine_->trouble();
    EXPECT_EQ(taken_from(event), 3U);
    EXPECT_TRUE(machine_->told().empty()) << "the write came out";

    machine_->chips().unbind(doorbell, 2, event.get());
    ASSERT_TRUE(machine_->command("w"));
    EXPECT_TRUE(tells({0, doorbell.value(), 1})) << machine_->trouble();
    EXPECT_EQ(taken_from(event), 0U) << "a doorbell that is no more";

    ASSERT_TRUE(machine_->chips().bind(doorbell, 4, event.get()));
    ASSERT_TRUE(machine_->command("w"));
    EXPECT_TRUE(tells({0, doorbell.value(), 1}, 2)) << "the guest writes two bytes, the doorbell has four";
    EXPECT_EQ(taken_from(event), 0U);
}

TEST_F(KernelChipsTest, ADoorbellIsBoundOnceAndGoesWithItsUnbind) {
    const UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    ASSERT_TRUE(machine_->chips().bind(doorbell, 2, event.get()));
    EXPECT_FALSE(machine_->chips().bind(doorbell, 2, event.get()));
    machine_->chips().unbind(doorbell, 2, event.get());
    machine_->chips().unbind(doorbell, 2, event.get());  // harmless
    ASSERT_TRUE(machine_->chips().bind(doorbell, 2, event.get()));
    ASSERT_NO_FATAL_FAILURE(start("w"));
    ASSERT_TRUE(says("rung")) << machine_->trouble();
    EXPECT_EQ(taken_from(event), 1U);
}

TEST_F(KernelChipsTest, TheOtherCpuStartsByInitAndSipi) {
    ASSERT_NO_FATAL_FAILURE(start("n"));
    ASSERT_TRUE(says("cpus 00000000")) << machine_->trouble();
    ASSERT_TRUE(machine_->command("c"));
    ASSERT_TRUE(other_cpu_comes_up()) << machine_->trouble();
    EXPECT_TRUE(machine_->told().empty());
}

TEST_F(KernelChipsTest, AMessageArrivesAtItsCpuWithItsVector) {
    ASSERT_NO_FATAL_FAILURE(start_waiting());
    std::mt19937 random{20};
    std::vector<std::ptrdiff_t> sent(2 * 256);
    for (unsigned i = 0; i < 100; ++i) {
        const std::uint32_t cpu = random() % 2;
        const std::uint32_t vector = 0x30 + static_cast<std::uint32_t>(random() % 0xC0);
        machine_->chips().signal({0xFEE0'0000ULL | cpu << 12, vector});
        ASSERT_TRUE(tells(arrived(cpu, vector), ++sent[cpu * 256 + vector])) << machine_->trouble();
    }
    EXPECT_EQ(machine_->told().size(), 2U + 100U) << "interrupts that nobody sent";
    EXPECT_EQ(machine_->chips().lost_messages(), 0U);
}

TEST_F(KernelChipsTest, MessagesToNobodyAreLostAndCounted) {
    ASSERT_NO_FATAL_FAILURE(start_waiting());
    machine_->chips().signal({0xFEE0'7000, 0x50});  // no such CPU
    EXPECT_EQ(machine_->chips().lost_messages(), 1U);
    machine_->chips().signal({0xFEE0'1000, 0x51});
    ASSERT_TRUE(tells(arrived(1, 0x51))) << machine_->trouble();
    EXPECT_EQ(machine_->told().size(), 3U);
}

TEST_F(KernelChipsTest, PinsGoWhereTheIoapicSendsThem) {
    ASSERT_NO_FATAL_FAILURE(start_waiting());
    KernelChips& chips = machine_->chips();
    chips.set_line(Gsi{4}, 4, LineLevel::high);
    ASSERT_TRUE(tells(arrived(1, 0x44))) << machine_->trouble();
    chips.set_line(Gsi{4}, 4, LineLevel::low);
    chips.set_line(Gsi{4}, 4, LineLevel::high);
    ASSERT_TRUE(tells(arrived(1, 0x44), 2)) << "every rise is one interrupt";

    // Two devices share a level pin: it interrupts until neither holds it.
    chips.set_line(Gsi{5}, 1, LineLevel::high);
    chips.set_line(Gsi{5}, 2, LineLevel::high);
    ASSERT_TRUE(tells(arrived(0, 0x45), 3)) << machine_->trouble();
    chips.set_line(Gsi{5}, 1, LineLevel::low);
    const std::ptrdiff_t with_one = count(arrived(0, 0x45));
    ASSERT_TRUE(tells(arrived(0, 0x45), with_one + 3)) << "the other device still holds it";
    chips.set_line(Gsi{5}, 2, LineLevel::low);
    // What was on its way arrives before what is sent now, on the same CPU.
    chips.signal({0xFEE0'0000, 0x60});
    ASSERT_TRUE(tells(arrived(0, 0x60)));
    const std::ptrdiff_t after = count(arrived(0, 0x45));
    chips.signal({0xFEE0'0000, 0x61});
    ASSERT_TRUE(tells(arrived(0, 0x61)));
    EXPECT_EQ(count(arrived(0, 0x45)), after) << "a pin that nobody holds";
    EXPECT_EQ(count(arrived(1, 0x44)), 2);
}

TEST_F(KernelChipsTest, AfterResetEverythingIsAsAtPowerOn) {
    ASSERT_NO_FATAL_FAILURE(start("tdc"));
    const std::string at_power_on = state();
    ASSERT_TRUE(other_cpu_comes_up()) << machine_->trouble();
    machine_->chips().set_line(Gsi{5}, 1, LineLevel::high);

    ASSERT_NO_FATAL_FAILURE(start("tn"));
    EXPECT_EQ(state(), at_power_on);
    ASSERT_TRUE(says("cpus 00000000")) << "the other CPU ran on: " << machine_->trouble();
    ASSERT_TRUE(machine_->command("c"));
    ASSERT_TRUE(other_cpu_comes_up()) << machine_->trouble();
}

TEST_F(KernelChipsTest, AResetLowersEveryPinAndForgetsWhatWasPending) {
    ASSERT_NO_FATAL_FAILURE(start_waiting());
    machine_->chips().set_line(Gsi{5}, 1, LineLevel::high);
    ASSERT_TRUE(tells(arrived(0, 0x45), 2)) << machine_->trouble();
    machine_->stop();
    machine_->chips().signal({0xFEE0'1000, 0x77});  // to a CPU that does not run now

    ASSERT_NO_FATAL_FAILURE(start_waiting());
    machine_->chips().signal({0xFEE0'0000, 0x60});
    machine_->chips().signal({0xFEE0'1000, 0x61});
    ASSERT_TRUE(tells(arrived(0, 0x60)) && tells(arrived(1, 0x61))) << machine_->trouble();
    EXPECT_EQ(machine_->told().size(), 4U) << "an interrupt from before the reset";
    machine_->chips().set_line(Gsi{5}, 1, LineLevel::high);
    EXPECT_TRUE(tells(arrived(0, 0x45))) << "its holder was forgotten: holding it again is news";
    machine_->chips().set_line(Gsi{5}, 1, LineLevel::low);
}

// Else the comparison above would show nothing.
TEST_F(KernelChipsTest, WithoutAResetTheGuestFindsWhatItChanged) {
    ASSERT_NO_FATAL_FAILURE(start("tdgto"));
    ASSERT_TRUE(eventually([&] { return std::ranges::count(machine_->said(), '\n') == 3 || !good(); }));
    std::istringstream said(machine_->said());
    std::array<std::vector<std::string>, 3> lines;
    for (auto& words : lines) {
        std::string line;
        std::getline(said, line);
        std::istringstream stream(line);
        for (std::string word; stream >> word;) words.push_back(word);
    }
    ASSERT_EQ(lines[1].size(), 1U + pc_guest::state_words);
    ASSERT_EQ(lines[2].size(), 1U + pc_guest::state_words);
    for (std::size_t i = 1; i < lines[1].size(); ++i) {
        const bool not_here = i == 8 || i == 9;  // power management and PCI: this machine has none
        if (not_here) continue;
        EXPECT_NE(lines[1][i], lines[2][i]) << "word " << i;
    }
}

}  // namespace
}  // namespace penumbra::vmm::test
