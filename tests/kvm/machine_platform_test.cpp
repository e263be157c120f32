// A whole machine of the Linux platform under a guest that asks it for everything a PC does: other processors, its
// power button, power-off, and its three ways to a reset.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/disk_image.hpp"
#include "tests/support/machine_fixture.hpp"
#include "tests/support/pc_guest.hpp"

namespace penumbra::vmm::test {
namespace {

namespace pc_guest = penumbra::test::pc_guest;

class MachinePlatform : public MachineTest {
protected:
    MachinePlatform() {
        const std::string name = "penumbra-pc-guest-" + std::to_string(::getpid());
        kernel_ = std::filesystem::path(testing::TempDir()) / name;
        pc_guest::write_kernel(kernel_);
    }
    ~MachinePlatform() override { std::filesystem::remove(kernel_); }

    [[nodiscard]] RunOptions options(const std::string& commands) const {
        RunOptions options;
        options.guest_os.kernel = kernel_;
        options.guest_os.append = commands;
        options.memory_bytes = options.budget_bytes = 32 * mib;
        return options;
    }
    static void command(TestMachine& machine, std::string_view letters) {
        ASSERT_TRUE(eventually([&] {
            letters.remove_prefix(machine->console_port()->receive(std::as_bytes(std::span(letters))));
            return letters.empty();
        })) << "the guest does not listen";
    }
    /// How often a line ends so: a reset may cut short the line before.
    static std::ptrdiff_t times(const TestMachine& machine, const std::string& line) {
        return std::ranges::count_if(machine.lines(), [&](const std::string& said) { return said.ends_with(line); });
    }
    static void expect_end(TestMachine& machine, GuestEnd how) {
        ASSERT_TRUE(machine.wait_for(MachineState::ended));
        const MachineStatus status = machine->status();
        EXPECT_FALSE(status.error.has_value()) << status.error->message();
        EXPECT_EQ(status.guest_end, how);
        EXPECT_EQ(status.exit_status, std::uint64_t{0});
    }
    /// Whether the guest said so since it last began.
    static bool says_now(const TestMachine& machine, const std::string& line) {
        const std::vector<std::string> all = machine.lines();
        const auto begun =
            std::find_if(all.rbegin(), all.rend(), [](const auto& said) { return said.ends_with("ready"); });
        return std::find(all.rbegin(), begun, line) != begun;
    }
    /// Asks until `cpus` have come up beside the first.
    static void expect_other_cpus(TestMachine& machine, unsigned cpus) {
        const std::string line = fmt::format("cpus {:08x} ", cpus);
        ASSERT_TRUE(eventually([&] {
            command(machine, "n");
            return HasFatalFailure() || says_now(machine, line);
        })) << line;
    }
    static std::vector<std::string> states(const TestMachine& machine) {
        std::vector<std::string> all = machine.lines();
        std::erase_if(all, [](const std::string& line) { return !line.starts_with("state "); });
        return all;
    }

    std::string kernel_;
};

TEST_F(MachinePlatform, TheGuestTurnsItselfOff) {
    TestMachine machine(options("o"));
    expect_end(machine, GuestEnd::power_off);
    EXPECT_EQ(times(machine, "ready"), 1);
}

TEST_F(MachinePlatform, EveryWayToAResetIsOne) {
    for (const char* way : {"r", "k", "f"}) {
        TestMachine machine(options(""));
        for (int i = 1; i <= 2; ++i) {
            ASSERT_TRUE(eventually([&] { return times(machine, "ready") == i; })) << way;
            ASSERT_NO_FATAL_FAILURE(command(machine, way));
        }
        ASSERT_TRUE(eventually([&] { return times(machine, "ready") == 3; })) << way;
        EXPECT_EQ(machine->status().guest_resets, 2U);
        ASSERT_NO_FATAL_FAILURE(command(machine, "o"));
        expect_end(machine, GuestEnd::power_off);

        RunOptions once = options(way);
        once.guest_os.on_reset = OnGuestReset::end;
        TestMachine ends(once);
        expect_end(ends, GuestEnd::reset);
        EXPECT_EQ(times(ends, "ready"), 1);
    }
}

TEST_F(MachinePlatform, ThePowerButtonReachesTheGuest) {
    TestMachine machine(options("bo"));
    ASSERT_TRUE(machine.wait_for_line("ready"));
    EXPECT_EQ(machine->press_power_button(), Platform::Button::pressed);
    expect_end(machine, GuestEnd::power_off);
    EXPECT_EQ(times(machine, "button"), 1);
}

TEST_F(MachinePlatform, AfterAResetEverythingIsAsAtPowerOn) {
    const penumbra::test::DiskImage disk(1U << 20);  // the PCI device whose registers are looked at
    RunOptions with_disk = options("t");
    with_disk.cpus = 2;
    with_disk.guest_os.disks.push_back({disk.options(), VirtioBus::pci});
    TestMachine machine(with_disk);
    ASSERT_TRUE(machine.wait_for_line("state "));
    ASSERT_NO_FATAL_FAILURE(command(machine, "dgtc"));
    ASSERT_TRUE(eventually([&] { return states(machine).size() == 2; }));
    ASSERT_NO_FATAL_FAILURE(expect_other_cpus(machine, 1));

    machine->reset();
    ASSERT_TRUE(eventually([&] { return states(machine).size() == 3; })) << "the guest starts again";
    ASSERT_NO_FATAL_FAILURE(command(machine, "n"));
    ASSERT_TRUE(eventually([&] { return says_now(machine, "cpus 00000000 "); })) << "another CPU ran on";
    const auto all = states(machine);
    EXPECT_EQ(all[2], all[0]);
    std::array<std::istringstream, 2> before_and_after{std::istringstream(all[0]), std::istringstream(all[1])};
    std::array<std::string, 2> words;
    ASSERT_TRUE(before_and_after[0] >> words[0] && before_and_after[1] >> words[1]);
    for (unsigned i = 0; i < pc_guest::state_words; ++i) {
        ASSERT_TRUE(before_and_after[0] >> words[0] && before_and_after[1] >> words[1]);
        EXPECT_NE(words[0], words[1]) << "word " << i << " was not changed: the comparison shows nothing";
    }
    ASSERT_NO_FATAL_FAILURE(command(machine, "co"));
    expect_end(machine, GuestEnd::power_off);
    EXPECT_EQ(machine->status().resets, 1U);
}

TEST_F(MachinePlatform, SixtyFourCpusStartAndStartAgain) {
    RunOptions many = options("c");
    many.cpus = most_cpus;
    TestMachine machine(many);
    ASSERT_NO_FATAL_FAILURE(expect_other_cpus(machine, most_cpus - 1));
    machine->pause();
    ASSERT_TRUE(machine.wait_for(MachineState::paused)) << "64 halted CPUs park";
    machine->reset();
    machine->resume();
    ASSERT_TRUE(eventually([&] { return times(machine, "ready") == 2; }));
    ASSERT_NO_FATAL_FAILURE(expect_other_cpus(machine, most_cpus - 1));
    ASSERT_NO_FATAL_FAILURE(command(machine, "o"));
    expect_end(machine, GuestEnd::power_off);
}

}  // namespace
}  // namespace penumbra::vmm::test
