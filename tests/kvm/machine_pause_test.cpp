// Pause, reset and end, also while a vCPU sleeps in a page fault that nobody answers.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/planted.hpp"
#include "tests/support/machine_fixture.hpp"
#include "vmm/kvm/kick.hpp"

#if defined(PENUMBRA_TEST_SWITCHES)

namespace penumbra::vmm::test {
namespace {

double cpu_seconds() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& t) {
        return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

std::optional<pid_t> thread_named(const std::string& name) {
    for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/task"}) {
        std::string found;
        if (std::getline(std::ifstream{entry.path() / "comm"}, found) && found == name) {
            return std::stoi(entry.path().filename());
        }
    }
    return std::nullopt;
}

class MachinePause : public MachineTest, public testing::WithParamInterface<GuestRing> {
protected:
    /// Touches random pages of a full file tier, until told to finish.
    static RunOptions touching() {
        RunOptions options = machine_options(PENUMBRA_GUEST_IMAGES "/touch", Tiers::file);
        options.ring = GetParam();
        options.memory_bytes = (slowness() > 1 ? 18 : 32) * mib;
        options.budget_bytes = 16 * mib;
        options.passes = 1000;
        return options;
    }
    static void wait_until_it_swaps(TestMachine& machine) {
        const Counter& in = machine->memory().state().stats.swapped_in;
        ASSERT_TRUE(eventually([&] { return in.get() > 100; }));
    }
    /// The vCPU's next fault on a swapped-out page stays unanswered; waits until that has happened.
    static void hold(TestMachine& machine) {
        plant(Plant::hold_tier, -1);
        std::uint64_t touches = ~std::uint64_t{0};
        ASSERT_TRUE(eventually([&] {
            std::this_thread::sleep_for(std::chrono::milliseconds{50} * std::min(slowness(), 4U));
            return std::exchange(touches, machine->touches()->given()) == machine->touches()->given();
        }));
    }
    static void release() { plant(Plant::hold_tier, 0); }

    static void expect_to_finish(TestMachine& machine) {
        const std::uint64_t touches = machine->touches()->given();
        EXPECT_TRUE(eventually([&] { return machine->touches()->given() > touches + 1000; })) << "the guest goes on";
        machine->finish_early();
        ASSERT_TRUE(machine.wait_for(MachineState::ended));
        EXPECT_EQ(machine->status().exit_status, std::uint64_t{0});
        EXPECT_FALSE(machine->status().error.has_value()) << machine->status().error->message();
    }

    ~MachinePause() override { release(); }
};

INSTANTIATE_TEST_SUITE_P(Rings, MachinePause, testing::Values(GuestRing::ring0, GuestRing::ring3),
                         [](const auto& test) { return test.param == GuestRing::ring0 ? "ring0" : "ring3"; });

TEST_P(MachinePause, PauseWhileAsleepInAFaultAnswersAtOnceAndParksOnceTheFaultIsServed) {
    TestMachine machine(touching());
    wait_until_it_swaps(machine);
    hold(machine);

    const auto begin = Clock::now();
    machine->pause();
    EXPECT_LT(seconds(Clock::now() - begin), 0.1 * slowness());
    EXPECT_EQ(machine->status().state, MachineState::paused);

    // The vCPU sleeps in the kernel and is left alone: no signal that would make its thread spin.
    const double cpu_before = cpu_seconds();
    std::this_thread::sleep_for(std::chrono::milliseconds{500});
    EXPECT_LT(cpu_seconds() - cpu_before, 0.15 * std::min(slowness(), 2U)) << "the held machine burns CPU time";
    EXPECT_FALSE(machine->status().all_parked) << "a vCPU in a fault is asked once its fault is answered";

    release();
    EXPECT_TRUE(machine.wait_for(MachineState::paused)) << "it parks as soon as it can";
    const std::uint64_t touches = machine->touches()->given();
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
    EXPECT_EQ(machine->touches()->given(), touches) << "a paused guest goes on";
    machine->resume();
    expect_to_finish(machine);
}

TEST_P(MachinePause, PauseAroundTheMomentOfAFaultParksOnceTheFaultIsServed) {
    TestMachine machine(touching());
    wait_until_it_swaps(machine);
    // The pause falls now before, now into, now behind the moment in which a fault's message is read.
    for (int round = 0; round < 40; ++round) {
        plant(Plant::hold_tier, -1);
        const auto until = Clock::now() + std::chrono::microseconds{round * 10};
        while (Clock::now() < until) std::this_thread::yield();
        machine->pause();
        EXPECT_EQ(machine->status().state, MachineState::paused);
        release();
        ASSERT_TRUE(machine.wait_for(MachineState::paused));
        machine->resume();
    }
    expect_to_finish(machine);
}

// A kick that was sent before the fault's message was read meets a sleeping vCPU. Some hosts then let the thread fault
// again and again until the page is there, each time with a new message.
TEST_P(MachinePause, KickThatMeetsAVcpuAsleepInAFaultDoesNoHarm) {
    TestMachine machine(touching());
    wait_until_it_swaps(machine);
    hold(machine);
    const std::optional<pid_t> vcpu = thread_named("vcpu-0");
    ASSERT_TRUE(vcpu.has_value());
    kick::send(*vcpu);
    std::this_thread::sleep_for(std::chrono::seconds{1});
    release();
    expect_to_finish(machine);
}

TEST_P(MachinePause, ResumeBeforeTheFaultIsServedUndoesThePause) {
    TestMachine machine(touching());
    wait_until_it_swaps(machine);
    hold(machine);
    machine->pause();
    machine->resume();
    release();
    EXPECT_EQ(machine->status().state, MachineState::running);
    expect_to_finish(machine);
}

TEST_P(MachinePause, ResetWhileAsleepInAFaultStartsTheGuestAgain) {
    TestMachine machine(touching());
    wait_until_it_swaps(machine);
    hold(machine);
    const auto& pages = machine->memory().space().stats().pages_by_reason;
    const Counter& dropped = pages[static_cast<std::size_t>(bridge::Reason::discard)];
    const std::uint64_t before = dropped.get();
    const auto begin = Clock::now();
    machine->reset();
    EXPECT_LT(seconds(Clock::now() - begin), 0.1 * slowness());
    release();
    EXPECT_TRUE(eventually([&] { return dropped.get() > before; })) << "no reset happened";
    expect_to_finish(machine);
}

TEST_P(MachinePause, PauseAfterAResetThatHasNotHappenedYetHolds) {
    TestMachine machine(touching());
    wait_until_it_swaps(machine);
    hold(machine);
    machine->reset();
    machine->pause();
    release();
    ASSERT_TRUE(machine.pause_until_quiet());
    EXPECT_EQ(machine->status().state, MachineState::paused);
    const std::uint64_t touches = machine->touches()->given();
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
    EXPECT_EQ(machine->touches()->given(), touches) << "the reset undid the pause";
    machine->resume();
    expect_to_finish(machine);
}

TEST_P(MachinePause, ResumeAfterAResetThatHasNotHappenedYetStillResets) {
    TestMachine machine(touching());
    wait_until_it_swaps(machine);
    hold(machine);
    const auto discarded = [&] {
        const auto discard = static_cast<std::size_t>(bridge::Reason::discard);
        return machine->memory().space().stats().pages_by_reason[discard].get();
    };
    EXPECT_EQ(discarded(), 0U);
    machine->reset();
    machine->pause();
    machine->resume();
    release();
    EXPECT_TRUE(eventually([&] { return discarded() > 0; })) << "the reset was forgotten";
    expect_to_finish(machine);
}

TEST_P(MachinePause, MachineWithAVcpuAsleepInAFaultIsDestroyedWithinSeconds) {
    TestMachine machine(touching());
    wait_until_it_swaps(machine);
    hold(machine);
    EXPECT_LT(seconds(machine.destroy()), 5.0);
}

TEST_P(MachinePause, EndedMachineWithAVcpuAsleepInAFaultIsDestroyedWithinSeconds) {
    TestMachine machine(touching());
    wait_until_it_swaps(machine);
    hold(machine);
    machine->pause();
    machine->end();
    EXPECT_EQ(machine->status().state, MachineState::ended);
    EXPECT_LT(seconds(machine.destroy()), 5.0);
}

class MachineReset : public MachineTest {
protected:
    static RunOptions churn() {
        RunOptions options = machine_options(PENUMBRA_GUEST_IMAGES "/churn");
        options.cpus = 2;
        options.accelerator = true;
        return options;
    }
};

TEST_F(MachineReset, ChurnStartsAgainEachTimeAndEndsClean) {
    TestMachine machine(churn());
    const int times = slowness() > 1 ? 4 : 12;
    for (int resets = 0; resets < times; ++resets) {
        // Deep in the fill memory is over its budget, so that the reclaimer is at work.
        const Counter& out = machine->memory().state().stats.swapped_out;
        const std::uint64_t before = out.get();
        ASSERT_TRUE(eventually([&] { return out.get() > before + 3000; }));
        machine->reset();
    }
    ASSERT_TRUE(machine.wait_for(MachineState::ended));
    expect_clean_end(machine);
}

TEST_F(MachineReset, PausedMachineIsResetToo) {
    TestMachine machine(churn());
    ASSERT_TRUE(machine.wait_for_line("pass 1/1 sequential"));
    ASSERT_TRUE(machine.pause_until_quiet());
    machine->reset();
    machine->resume();
    ASSERT_TRUE(eventually([&] {
        const std::vector<std::string> lines = machine.lines();
        return std::ranges::count(lines, "fill") == 2;
    })) << "the guest starts again";
    ASSERT_TRUE(machine.wait_for(MachineState::ended));
    expect_clean_end(machine);
}

}  // namespace
}  // namespace penumbra::vmm::test

#endif
