// The accelerator's registers and commands as a hostile guest uses them, and its life as the VMM runs it.
#include <gtest/gtest.h>
#include <sched.h>

#include <array>
#include <chrono>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include "tests/support/accelerator_machine.hpp"
#include "vmm/devices/accelerator/crc32c.hpp"

namespace penumbra::test {
namespace {

using abi::AccelCommand;
using abi::AccelOpcode;
using abi::AccelRegister;
using abi::AccelResult;

constexpr std::uint64_t all_ones = ~std::uint64_t{0};
constexpr std::uint64_t enabled = static_cast<std::uint64_t>(abi::AccelStatus::enabled);
constexpr std::uint64_t ring_error = static_cast<std::uint64_t>(abi::AccelStatus::ring_error);
constexpr std::uint64_t low = address_of(AcceleratorMachine::low_first).value();
constexpr std::uint64_t high = address_of(AcceleratorMachine::high_first).value();
constexpr std::uint64_t slot_bytes = AcceleratorMachine::slot_pages * page_bytes;

AccelCommand command(AccelOpcode opcode, std::uint64_t source, std::uint64_t target, std::uint64_t bytes) {
    return {static_cast<std::uint32_t>(opcode), 0, source, target, bytes, 0, 0, 0, {}};
}
AccelResult result_of(const std::optional<AccelCommand>& slot) {
    return slot ? static_cast<AccelResult>(slot->result) : AccelResult::pending;
}

TEST(AcceleratorCrc32c, MatchesTheStandardsCheckValueAndItself) {
    const auto* digits = reinterpret_cast<const std::byte*>("123456789");
    EXPECT_EQ(vmm::crc32c_finish(vmm::crc32c_extend(vmm::crc32c_start, {digits, 9})), 0xE306'9283U);
    std::mt19937_64 random(5);
    std::vector<std::byte> data(300);
    for (std::byte& byte : data) byte = std::byte(random());
    for (std::size_t from = 0; from < 16; ++from) {
        for (std::size_t bytes = 0; from + bytes <= data.size(); bytes += 7) {
            const std::span piece{data.data() + from, bytes};
            EXPECT_EQ(vmm::crc32c_extend(77, piece), vmm::crc32c_extend_portable(77, piece));
        }
    }
}

TEST(Accelerator, RefusesWhatIsNotARegister) {
    AcceleratorMachine machine;
    vmm::Accelerator& device = machine.device();
    EXPECT_EQ(device.read(0x00, 4), all_ones);
    EXPECT_EQ(device.read(0x04, 8), all_ones);
    EXPECT_EQ(device.read(0x48, 8), all_ones);
    device.write(0x20, 8, 1);  // status
    device.write(0x28, 8, 1);  // head
    device.write(0x10, 8, 2);  // control takes 0 and 1
    device.write(0x18, 8, 1);  // no doorbell while disabled
    EXPECT_EQ(device.stats().refused, 7U);
    machine.enable(2);
    device.write(0x00, 8, 0);  // the ring may not move while enabled
    EXPECT_EQ(machine.get(AccelRegister::ring_gpa), low);
    EXPECT_EQ(device.stats().refused, 8U);
    EXPECT_EQ(machine.get(AccelRegister::status), enabled);
}

TEST(Accelerator, RefusesBadRings) {
    struct Bad {
        std::uint64_t gpa;
        std::uint64_t entries;
    };
    constexpr std::array bad{Bad{low + 64, 64}, Bad{0, 64},         Bad{all_ones & ~(page_bytes - 1), 1024},
                             Bad{low, 0},       Bad{low, 1},        Bad{low, 3},
                             Bad{low, 2048},    Bad{low, all_ones}, Bad{low + slot_bytes - page_bytes, 128}};
    AcceleratorMachine machine;
    for (const Bad& ring : bad) {
        machine.set(AccelRegister::ring_gpa, ring.gpa);
        machine.set(AccelRegister::ring_entries, ring.entries);
        machine.set(AccelRegister::control, 1);
        EXPECT_EQ(machine.get(AccelRegister::status), ring_error) << ring.gpa << ' ' << ring.entries;
    }
    machine.enable(64);
    EXPECT_EQ(machine.get(AccelRegister::status), enabled);
}

TEST(Accelerator, ADoorbellPastTheRingOrBackwardsDisables) {
    AcceleratorMachine machine;
    for (const std::uint64_t second : {std::uint64_t{1 + 4 + 1}, std::uint64_t{0}, all_ones}) {
        machine.enable(4);
        ASSERT_EQ(result_of(machine.run(command(AccelOpcode::nop, 0, 0, 0))), AccelResult::done);
        machine.set(AccelRegister::doorbell, second);
        EXPECT_EQ(machine.get(AccelRegister::status), ring_error);
        EXPECT_EQ(machine.get(AccelRegister::head), 1U);
    }
    machine.enable(4);
    EXPECT_EQ(machine.get(AccelRegister::head), 0U);
    EXPECT_EQ(result_of(machine.run(command(AccelOpcode::nop, 0, 0, 0))), AccelResult::done);
}

TEST(Accelerator, AnswersBadCommands) {
    constexpr std::uint64_t limit = vmm::max_command_bytes;
    const auto odd = static_cast<AccelOpcode>(77);
    struct Case {
        AccelCommand command;
        AccelResult result;
    };
    const std::array cases{
        Case{command(odd, low, high, 8), AccelResult::bad_command},
        Case{command(AccelOpcode::crc32c, high, 0, 0), AccelResult::bad_command},
        Case{command(AccelOpcode::crc32c, high, 0, limit + 1), AccelResult::bad_command},
        Case{command(AccelOpcode::crc32c, high, 0, all_ones), AccelResult::bad_command},
        Case{command(AccelOpcode::crc32c, high, 0, limit), AccelResult::bad_address},
        Case{command(AccelOpcode::crc32c, high, 0, slot_bytes), AccelResult::done},
        Case{command(AccelOpcode::crc32c, high + 1, 0, slot_bytes), AccelResult::bad_address},
        Case{command(AccelOpcode::crc32c, low - 1, 0, 2), AccelResult::bad_address},
        Case{command(AccelOpcode::crc32c, all_ones, 0, 1), AccelResult::bad_address},
        Case{command(AccelOpcode::crc32c, all_ones, 0, 2), AccelResult::bad_address},
        Case{command(AccelOpcode::fill, 1, all_ones - 7, 4096), AccelResult::bad_address},
        Case{command(AccelOpcode::fill, all_ones, high, 4096), AccelResult::done},
        Case{command(AccelOpcode::copy, high, high + 1, 2), AccelResult::bad_command},
        Case{command(AccelOpcode::copy, high + 1, high, 2), AccelResult::bad_command},
        Case{command(AccelOpcode::copy, high, high, 1), AccelResult::bad_command},
        Case{command(AccelOpcode::copy, high, high + 2, 2), AccelResult::done},
        Case{command(AccelOpcode::copy, high, 0, 2), AccelResult::bad_address},
        Case{command(AccelOpcode::nop, all_ones, all_ones, all_ones), AccelResult::done},
    };
    AcceleratorMachine machine;
    machine.enable(2);  // wraps many times
    for (std::size_t i = 0; i < cases.size(); ++i) {
        EXPECT_EQ(result_of(machine.run(cases[i].command)), cases[i].result) << i;
    }
    EXPECT_EQ(machine.device().stats().commands, cases.size());
    EXPECT_EQ(machine.device().stats().bytes, slot_bytes + 4096 + 2);
}

TEST(Accelerator, SurvivesCommandsThatOverwriteTheRing) {
    AcceleratorMachine machine;
    machine.enable(16);
    machine.put(command(AccelOpcode::fill, all_ones, low, page_bytes));
    for (int i = 0; i < 3; ++i) machine.put(command(AccelOpcode::nop, 0, 0, 0));
    machine.doorbell();
    ASSERT_TRUE(machine.wait_for_all());
    EXPECT_EQ(machine.slot(0).result, static_cast<std::uint32_t>(AccelResult::done));
    EXPECT_EQ(machine.slot(1).result, static_cast<std::uint32_t>(AccelResult::bad_command));
    EXPECT_EQ(machine.slot(3).result, static_cast<std::uint32_t>(AccelResult::bad_command));
}

TEST(Accelerator, AnswersEveryRandomCommand) {
    AcceleratorMachine machine;
    machine.start_evictor(3, std::chrono::microseconds{300});
    machine.enable(8);
    std::mt19937_64 random(4);
    const auto address = [&] { return (random() % 2 == 0 ? low : high) - 16 + random() % (slot_bytes + 32); };
    for (int i = 0; i < 1000; ++i) {
        AccelCommand hostile{};
        hostile.opcode = static_cast<std::uint32_t>(random() % 6);
        hostile.source = address();
        hostile.target = address();
        hostile.bytes = random() % 8 == 0 ? random() : random() % (4 * page_bytes);
        ASSERT_TRUE(machine.run(hostile).has_value()) << i;
    }
}

TEST(Accelerator, AsksForACommandsPagesAtOnce) {
    AcceleratorMachine machine;
    machine.enable(4);
    ASSERT_EQ(result_of(machine.run(command(AccelOpcode::nop, 0, 0, 0))),
              AccelResult::done);  // the ring's page is in now
    ASSERT_EQ(machine.device().stats().page_requests, 1U);
    machine.put(command(AccelOpcode::copy, high, low + page_bytes, 20 * page_bytes));
    machine.pager().set_mood(FakePages::Mood::hold);
    machine.doorbell();
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds{10};
    while (machine.device().stats().page_requests != 1 + 2 * 20 && std::chrono::steady_clock::now() < until) {
        ::sched_yield();
    }
    EXPECT_EQ(machine.device().stats().page_requests, 1U + 2 * 20);  // though none is answered
    EXPECT_EQ(machine.get(AccelRegister::head), 1U);
    machine.pager().set_mood(FakePages::Mood::serve);
    ASSERT_TRUE(machine.wait_for_all());
    EXPECT_EQ(machine.device().stats().page_requests_out, 2U * 20);
}

TEST(Accelerator, KeepsAFailedRequestUntilResume) {
    AcceleratorMachine machine;
    machine.enable(4);
    machine.put(command(AccelOpcode::crc32c, high, 0, 8 * page_bytes));
    machine.pager().set_mood(FakePages::Mood::fail);
    machine.doorbell();
    ASSERT_TRUE(machine.wait_for_error());
    EXPECT_EQ(machine.get(AccelRegister::head), 0U);
    machine.pager().set_mood(FakePages::Mood::serve);
    machine.device().resume();
    ASSERT_TRUE(machine.wait_for_all());
    EXPECT_EQ(machine.slot(0).result, static_cast<std::uint32_t>(AccelResult::done));
    EXPECT_EQ(machine.errors(), 1U);
}

TEST(Accelerator, StopsWhileARequestIsKept) {
    AcceleratorMachine machine;
    machine.enable(4);
    machine.pager().set_mood(FakePages::Mood::fail);
    machine.doorbell();
    machine.set(AccelRegister::doorbell, 4);
    ASSERT_TRUE(machine.wait_for_error());
    machine.device().stop();
    machine.device().stop();
    EXPECT_EQ(machine.get(AccelRegister::status), 0U);
}

TEST(Accelerator, ResetsWhileThePagerHasItsPage) {
    AcceleratorMachine machine;
    machine.enable(4);
    machine.put(command(AccelOpcode::crc32c, high, 0, 8 * page_bytes));
    machine.pager().set_mood(FakePages::Mood::hold);
    machine.doorbell();
    machine.device().reset();  // does not wait for the pager
    for (const auto at :
         {AccelRegister::ring_gpa, AccelRegister::ring_entries, AccelRegister::status, AccelRegister::head}) {
        EXPECT_EQ(machine.get(at), 0U);
    }
    machine.pager().set_mood(FakePages::Mood::serve);
    machine.enable(4);
    EXPECT_EQ(result_of(machine.run(command(AccelOpcode::crc32c, high, 0, 8 * page_bytes))), AccelResult::done);
}

TEST(Accelerator, HoldsNoPageWhilePaused) {
    AcceleratorMachine machine;
    machine.enable(64);
    for (int round = 0; round < 20; ++round) {
        const std::uint64_t head = machine.get(AccelRegister::head);
        for (int i = 0; i < 8; ++i)
            machine.put(command(AccelOpcode::copy, high, low + 4 * page_bytes, 30 * page_bytes));
        machine.doorbell();
        machine.device().pause();
        const std::uint64_t bytes = machine.device().stats().bytes;
        machine.evict_all();
        EXPECT_EQ(machine.device().stats().bytes, bytes);
        if (round == 10) {  // a reset keeps it paused
            machine.device().reset();
            machine.device().resume();
            machine.enable(64);
            continue;
        }
        machine.device().resume();
        ASSERT_TRUE(machine.wait_for_head(head + 8));
    }
}

TEST(Accelerator, StopsAfterItsAddressSpaceWasReleased) {
    AcceleratorMachine machine;
    machine.enable(4);
    ASSERT_EQ(result_of(machine.run(command(AccelOpcode::crc32c, high, 0, page_bytes))), AccelResult::done);
    machine.space().release();
    machine.set(AccelRegister::doorbell, 2);
    machine.device().stop();
    EXPECT_EQ(machine.get(AccelRegister::head), 1U);
}

}  // namespace
}  // namespace penumbra::test
