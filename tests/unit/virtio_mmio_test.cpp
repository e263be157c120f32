// The register file of virtio-mmio.
#include <gtest/gtest.h>

#include "tests/support/echo_machine.hpp"

namespace penumbra::test {
namespace {

constexpr std::uint32_t ones = 0xFFFF'FFFF;

class VirtioMmio : public testing::Test {
protected:
    [[nodiscard]] std::uint32_t get(unsigned offset) { return registers_.get(offset); }
    void set(unsigned offset, std::uint32_t value) { registers_.set(offset, value); }

    EchoMachine machine_{Over::mmio};
    MmioRegisters& registers_ = static_cast<MmioRegisters&>(machine_.registers());
    vmm::VirtioMmio& device_ = static_cast<vmm::VirtioMmio&>(machine_.transport());
};

TEST_F(VirtioMmio, SaysWhatItIs) {
    EXPECT_EQ(get(0x000), 0x7472'6976U);
    EXPECT_EQ(get(0x004), 2U);
    EXPECT_EQ(get(0x008), 3U);
    EXPECT_EQ(get(0x00C), 0x756E'6550U);
}

TEST_F(VirtioMmio, FeaturesComeInWords) {
    set(0x014, 1);
    EXPECT_EQ(get(0x010), 1U);
    set(0x014, 2);
    EXPECT_EQ(get(0x010), 0U);
    set(0x014, ones);
    EXPECT_EQ(get(0x010), 0U);
}

TEST_F(VirtioMmio, QueuesAreEnabledAndDisabledBeforeDriverOk) {
    set(0x030, 1);
    EXPECT_EQ(get(0x034), 256U);
    EXPECT_EQ(get(0x044), 0U);
    set(0x044, 1);
    EXPECT_EQ(get(0x044), 1U);
    set(0x044, 0);
    EXPECT_EQ(get(0x044), 0U);
    set(0x030, 2);
    set(0x044, 1);
    set(0x038, 16);
    EXPECT_EQ(get(0x034), 0U);
    EXPECT_EQ(get(0x044), 0U);
    ASSERT_TRUE(machine_.driver().start(EchoMachine::rings, 16));
    set(0x030, 0);
    set(0x044, 0);
    EXPECT_EQ(get(0x044), 1U) << "an active queue stops by reset only";
}

TEST_F(VirtioMmio, RegistersAreWords) {
    EXPECT_EQ(device_.read(0x000, 2), vmm::Device::all_ones);
    EXPECT_EQ(device_.read(0x001, 4), vmm::Device::all_ones);
    EXPECT_EQ(device_.read(0x000, 8), vmm::Device::all_ones);
    device_.write(0x070, 1, 1);
    device_.write(0x071, 4, 1);
    EXPECT_EQ(get(0x070), 0U);
}

TEST_F(VirtioMmio, UnknownRegistersReadZeroAndSharedMemoryIsAbsent) {
    EXPECT_EQ(get(0x018), 0U);
    EXPECT_EQ(get(0x0AC), 0U);
    EXPECT_EQ(get(0x0B0), ones);
    EXPECT_EQ(get(0x0BC), ones);
    EXPECT_EQ(get(0x0C0), 0U);
    set(0x0B0, 1);
    set(0x018, 1);
    EXPECT_EQ(device_.read(0xFF8, 8), 0U);
    device_.write(0xFF8, 8, 1);
}

TEST_F(VirtioMmio, AcknowledgingTakesThoseBitsOnly) {
    ASSERT_TRUE(machine_.driver().start(EchoMachine::rings, 16));
    machine_.device().set_config(0, 1);
    (void)machine_.driver().submit(0, {device_writes(EchoMachine::buffers, 8)});
    ASSERT_TRUE(becomes_true([&] { return get(0x060) == 3; }));
    set(0x064, 1);
    EXPECT_EQ(get(0x060), 2U);
    EXPECT_TRUE(machine_.interrupts().high(EchoMachine::mmio_line, 1));
    set(0x064, 2);
    EXPECT_EQ(get(0x060), 0U);
    EXPECT_FALSE(machine_.interrupts().high(EchoMachine::mmio_line, 1));
}

TEST_F(VirtioMmio, NotificationsOfQueuesThatDoNotExistAreIgnored) {
    ASSERT_TRUE(machine_.driver().start(EchoMachine::rings, 16));
    set(0x050, 2);
    set(0x050, ones);
    (void)machine_.driver().submit(1, {device_writes(EchoMachine::buffers, 8)});
    EXPECT_TRUE(machine_.driver().wait(1));
}

}  // namespace
}  // namespace penumbra::test
