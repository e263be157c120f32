// From reset to DRIVER_OK and back, over both transports.
#include <gtest/gtest.h>

#include "base/thread.hpp"
#include "tests/support/echo_machine.hpp"

namespace penumbra::test {
namespace {

using namespace vmm::virtio_status;
namespace feature = vmm::virtio_feature;

constexpr Gpa buffers = EchoMachine::buffers;
constexpr Gpa rings = EchoMachine::rings;
constexpr std::uint64_t all_offered =
    feature::version_1 | feature::indirect_desc | feature::event_idx | EchoDevice::own_feature;

class VirtioTransport : public testing::TestWithParam<Over> {
protected:
    EchoMachine machine_{GetParam()};
    VirtioRegisters& registers_ = machine_.registers();
    VirtioDriver& driver_ = machine_.driver();
};
INSTANTIATE_TEST_SUITE_P(Over, VirtioTransport, testing::Values(Over::mmio, Over::pci),
                         [](const auto& which) { return which.param == Over::mmio ? "Mmio" : "Pci"; });

TEST_P(VirtioTransport, TellsWhatTheDeviceIs) {
    EXPECT_EQ(registers_.device_id(), 3U);
    EXPECT_EQ(registers_.offered(), all_offered);
    EXPECT_EQ(registers_.max_queue_size(0), 256);
    EXPECT_EQ(registers_.max_queue_size(1), 256);
    EXPECT_EQ(registers_.max_queue_size(2), 0);
    EXPECT_EQ(registers_.max_queue_size(60'000), 0);
    EXPECT_EQ(registers_.status(), 0);
}

TEST_P(VirtioTransport, NegotiatesFeatures) {
    ASSERT_TRUE(driver_.start(rings, 16, EchoDevice::own_feature));
    machine_.sync();
    EXPECT_EQ(machine_.device().negotiated(), EchoDevice::own_feature | feature::version_1);
    // Too late.
    registers_.accept(all_offered);
    machine_.sync();
    EXPECT_EQ(machine_.device().activations(), 1U);
}

TEST_P(VirtioTransport, RefusesFeaturesThatCannotBe) {
    for (const std::uint64_t wrong : {std::uint64_t{0}, all_offered & ~feature::version_1, all_offered | 1,
                                      feature::version_1 | (std::uint64_t{1} << 63)}) {
        ASSERT_TRUE(registers_.reset());
        registers_.set_status(acknowledge);
        registers_.set_status(acknowledge | driver);
        registers_.accept(wrong);
        registers_.set_status(acknowledge | driver | features_ok);
        EXPECT_EQ(registers_.status(), acknowledge | driver) << std::hex << wrong;
        registers_.set_status(acknowledge | driver | features_ok | driver_ok);
        EXPECT_EQ(registers_.status(), acknowledge | driver);
    }
    machine_.sync();
    EXPECT_EQ(machine_.device().activations(), 0U);
}

TEST_P(VirtioTransport, KeepsTheOrderOfSteps) {
    registers_.set_status(driver);
    EXPECT_EQ(registers_.status(), 0) << "not before ACKNOWLEDGE";
    registers_.set_status(acknowledge);
    registers_.accept(feature::version_1);
    registers_.set_status(acknowledge | features_ok);
    EXPECT_EQ(registers_.status(), acknowledge) << "not before DRIVER";
    registers_.set_status(acknowledge | driver_ok);
    EXPECT_EQ(registers_.status(), acknowledge) << "not before FEATURES_OK";
    registers_.set_status(acknowledge | driver | needs_reset);
    EXPECT_EQ(registers_.status(), acknowledge | driver) << "NEEDS_RESET is the device's to set";
    registers_.set_status(acknowledge);
    EXPECT_EQ(registers_.status(), acknowledge | driver) << "only a reset takes bits away";
    registers_.set_status(failed);
    EXPECT_EQ(registers_.status(), acknowledge | driver | failed);
    registers_.set_status(features_ok | driver_ok);
    EXPECT_EQ(registers_.status(), acknowledge | driver | failed | features_ok) << "a failed driver is not ready";
    machine_.sync();
    EXPECT_EQ(machine_.device().activations(), 0U);
}

TEST_P(VirtioTransport, TakesAllStepsAtOnce) {
    registers_.accept(feature::version_1);
    registers_.set_status(acknowledge | driver | features_ok | driver_ok);
    EXPECT_EQ(registers_.status(), acknowledge | driver | features_ok | driver_ok);
    machine_.sync();
    EXPECT_EQ(machine_.device().activations(), 1U);
}

TEST_P(VirtioTransport, ResetDropsChainsAndStartsAnew) {
    for (unsigned round = 0; round < 5; ++round) {
        ASSERT_TRUE(driver_.start(rings, 16));
        machine_.device().keep_chains();
        for (unsigned i = 0; i < 4; ++i) {
            (void)driver_.submit(0, {device_reads(buffers, 8), device_writes(buffers + 64, 8)});
        }
        const unsigned expected = round * 5 + 4;
        ASSERT_TRUE(becomes_true([&] { return machine_.device().taken() == expected; }));
        ASSERT_TRUE(registers_.reset());
        EXPECT_EQ(registers_.offered(), all_offered);
        EXPECT_EQ(machine_.device().forgets(), 2 * round + 1);
        machine_.device().echo_kept();
        machine_.sync();
        ASSERT_TRUE(driver_.start(rings, 16));
        machine_.sync();
        EXPECT_FALSE(driver_.queue(0).take()) << "a chain of before the reset";
        (void)driver_.submit(0, {device_reads(buffers, 8), device_writes(buffers + 64, 8)});
        EXPECT_TRUE(driver_.wait(0));
    }
}

TEST_P(VirtioTransport, ResetForgetsPagesThatAreAwaited) {
    ASSERT_TRUE(driver_.start(rings, 16));
    auto& fake = machine_.machine();
    fake.slow().hold(fake.host(frame_of(buffers)));
    (void)driver_.submit(0, {device_reads(buffers, 8), device_writes(buffers + page_bytes, 8)});
    ASSERT_TRUE(becomes_true([&] { return fake.slow().waiting() > 0; }));
    EXPECT_TRUE(registers_.reset()) << "a reset must not wait for a page";
    fake.slow().let_go();
    ASSERT_TRUE(driver_.start(rings, 16));
    (void)driver_.submit(0, {device_reads(buffers, 8), device_writes(buffers + page_bytes, 8)});
    EXPECT_TRUE(driver_.wait(0));
    EXPECT_FALSE(driver_.queue(0).take());
}

TEST_P(VirtioTransport, ActiveQueuesCannotBeMoved) {
    ASSERT_TRUE(driver_.start(rings, 16));
    RingPlace other = driver_.queue(0).place();
    other.size = 8;
    other.descriptors = buffers;
    registers_.set_queue(0, other);
    (void)driver_.submit(0, {device_reads(buffers, 8), device_writes(buffers + 64, 8)});
    EXPECT_TRUE(driver_.wait(0));
}

TEST_P(VirtioTransport, NotificationsBeforeDriverOkAreNotLost) {
    ASSERT_TRUE(driver_.negotiate());
    DriverQueue queue(machine_.memory(), DriverQueue::place_at(rings, 16), driver_.features());
    registers_.set_queue(0, queue.place());
    ASSERT_TRUE(queue.add({device_writes(buffers + 64, 8)}));
    (void)queue.publish();
    registers_.notify(0);
    machine_.sync();
    EXPECT_EQ(machine_.device().taken(), 0U);
    registers_.set_status(driver_ok);
    EXPECT_TRUE(becomes_true([&] { return queue.take().has_value(); }));
}

TEST_P(VirtioTransport, ConfigurationSpaceIsReadAndWritten) {
    EXPECT_EQ(registers_.config(3, 1), 3U);
    EXPECT_EQ(registers_.config(4, 4), 0x0706'0504U);
    EXPECT_EQ(registers_.config(8, 2), 0x0908U);
    EXPECT_EQ(registers_.config(EchoDevice::config_size, 4), 0U);
    registers_.set_config(4, 4, 0xFFFF'FFFF);
    EXPECT_EQ(registers_.config(4, 4), 0x0706'0504U);
    registers_.set_config(20, 4, 0x1122'3344);
    EXPECT_EQ(registers_.config(20, 4), 0x1122'3344U);
    EXPECT_TRUE(becomes_true([&] { return machine_.device().config_writes() == 1; }));
    registers_.set_config(20, 4, 0x1122'3344);
    machine_.sync();
    EXPECT_EQ(machine_.device().config_writes(), 1U) << "nothing changed";
    ASSERT_TRUE(driver_.start(rings, 16));
    ASSERT_TRUE(registers_.reset());
    EXPECT_EQ(registers_.config(20, 4), 0x1716'1514U);
}

TEST_P(VirtioTransport, ConfigurationChangesAreTold) {
    ASSERT_TRUE(driver_.start(rings, 16));
    const std::uint32_t before = registers_.config_generation();
    machine_.device().set_config(5, 0xAA);
    ASSERT_TRUE(machine_.interrupts().wait_beyond(0));
    EXPECT_EQ(registers_.take_isr(), vmm::virtio_isr::config);
    EXPECT_EQ(registers_.take_isr(), 0);
    EXPECT_NE(registers_.config_generation(), before);
    EXPECT_EQ(registers_.config(5, 1), 0xAAU);
}

TEST_P(VirtioTransport, ABrokenDeviceSaysSo) {
    machine_.device().break_down();
    machine_.sync();
    EXPECT_EQ(registers_.status(), 0) << "nobody drives it";
    ASSERT_TRUE(driver_.start(rings, 16));
    machine_.device().break_down();
    machine_.sync();
    EXPECT_NE(registers_.status() & needs_reset, 0);
    EXPECT_EQ(registers_.take_isr(), vmm::virtio_isr::config);
    ASSERT_TRUE(registers_.reset());
}

TEST_P(VirtioTransport, SharesItsLineAndLowersIt) {
    const std::uint32_t line = GetParam() == Over::mmio ? EchoMachine::mmio_line : 16 + EchoMachine::pci_slot % 4;
    const std::uint32_t source = GetParam() == Over::mmio ? 1 : EchoMachine::pci_slot;
    ASSERT_TRUE(driver_.start(rings, 16));
    (void)driver_.submit(0, {device_writes(buffers + 64, 8)});
    ASSERT_TRUE(machine_.interrupts().wait_beyond(0));
    EXPECT_TRUE(machine_.interrupts().high(line, source));
    EXPECT_EQ(registers_.take_isr(), vmm::virtio_isr::queue);
    EXPECT_FALSE(machine_.interrupts().high(line, source));
    (void)driver_.wait(0);
    ASSERT_FALSE(driver_.queue(0).ask_for_interrupt());
    (void)driver_.submit(0, {device_writes(buffers + 64, 8)});
    ASSERT_TRUE(machine_.interrupts().wait_beyond(1));
    ASSERT_TRUE(registers_.reset());
    EXPECT_FALSE(machine_.interrupts().high(line, source)) << "a reset lowers it as well";
}

// ---- resets that take time ----

TEST(VirtioPciReset, StatusIsNotZeroUntilIoHasEnded) {
    EchoMachine machine(Over::pci);
    ASSERT_TRUE(machine.driver().start(rings, 16));
    machine.device().stay_busy();
    machine.registers().set_status(0);
    machine.sync();
    EXPECT_NE(machine.registers().status(), 0);
    machine.registers().set_status(acknowledge);
    machine.registers().accept(feature::version_1);
    EXPECT_NE(machine.registers().status(), 0);
    machine.registers().set_status(0);
    machine.device().settle();
    EXPECT_TRUE(becomes_true([&] { return machine.registers().status() == 0; }));
    EXPECT_EQ(machine.device().forgets(), 1U);
}

TEST(VirtioMmioReset, TheWriteReturnsWhenIoHasEnded) {
    EchoMachine machine(Over::mmio);
    ASSERT_TRUE(machine.driver().start(rings, 16));
    machine.device().stay_busy();
    std::atomic<bool> returned{false};
    Thread vcpu("vcpu", ThreadRole::vcpu, [&] {
        machine.registers().set_status(0);
        EXPECT_EQ(machine.registers().status(), 0);
        returned = true;
    });
    machine.sync();
    machine.sync();
    EXPECT_FALSE(returned);
    EXPECT_EQ(machine.device().forgets(), 0U);
    machine.device().settle();
    vcpu.join();
    EXPECT_EQ(machine.device().forgets(), 1U);
}

TEST(VirtioMmioReset, NobodyWaitsForALoopThatStops) {
    EchoMachine machine(Over::mmio);
    ASSERT_TRUE(machine.driver().start(rings, 16));
    machine.device().stay_busy();
    Thread vcpu("vcpu", ThreadRole::vcpu, [&] { machine.registers().set_status(0); });
    machine.transport().release_waiters();
    vcpu.join();
}

TEST_P(VirtioTransport, TheMachineResetsItToo) {
    ASSERT_TRUE(driver_.start(rings, 16));
    machine_.transport().reset_device();
    EXPECT_EQ(registers_.status(), 0);
    EXPECT_EQ(machine_.device().forgets(), 1U);
    ASSERT_TRUE(driver_.start(rings, 16));
    (void)driver_.submit(0, {device_writes(buffers + 64, 8)});
    EXPECT_TRUE(driver_.wait(0));
}

}  // namespace
}  // namespace penumbra::test
