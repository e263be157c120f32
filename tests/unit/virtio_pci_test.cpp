// A virtio device as a PCI function: what its driver finds, interrupts, doorbells, and access through configuration
// space.
#include <gtest/gtest.h>

#include "tests/support/echo_machine.hpp"

namespace penumbra::test {
namespace {

constexpr Gpa buffers = EchoMachine::buffers;
constexpr Gpa rings = EchoMachine::rings;
constexpr std::uint16_t no_vector = 0xFFFF;

class VirtioPci : public testing::Test {
protected:
    void echo_once() {
        (void)driver_.submit(0, {device_reads(buffers, 8), device_writes(buffers + 64, 8)});
        ASSERT_TRUE(driver_.wait(0));
    }
    EchoMachine machine_{Over::pci};
    PciRegisters& registers_ = machine_.pci_registers();
    VirtioDriver& driver_ = machine_.driver();
};

TEST_F(VirtioPci, HasTheIdentityAndCapabilitiesOfAModernDevice) {
    EXPECT_EQ(registers_.config_space(0, 4), 0x1043'1AF4U);
    EXPECT_EQ(registers_.config_space(8, 1), 1U);
    EXPECT_EQ(registers_.config_space(0x3D, 1), 1U);
    EXPECT_NE(registers_.config_space(6, 2) & 0x10, 0U);
    for (unsigned type = 1; type <= 5; ++type) EXPECT_NE(registers_.structure(type).capability, 0U) << type;
    EXPECT_GE(registers_.structure(1).bytes, 56U);
    EXPECT_EQ(registers_.structure(3).bytes, 1U);
    EXPECT_EQ(registers_.structure(4).bytes, EchoDevice::config_size);
    EXPECT_EQ(registers_.common(0x12, 2), 2U);
    EXPECT_EQ(registers_.config_space(registers_.msix_capability() + 2, 2), 2U) << "three vectors";
}

TEST_F(VirtioPci, CommonRegistersTakeTheirOwnSizesOnly) {
    registers_.set_common(0x16, 2, 1);
    EXPECT_EQ(registers_.common(0x16, 2), 1U);
    EXPECT_EQ(registers_.common(0x1E, 2), 1U) << "its doorbell";
    registers_.set_common(0x16, 4, 0);
    EXPECT_EQ(registers_.common(0x16, 2), 1U);
    registers_.set_common(0x20, 8, 0x1122'3344'5566'7780);
    EXPECT_EQ(registers_.common(0x20, 4), 0x5566'7780U);
    EXPECT_EQ(registers_.common(0x24, 4), 0x1122'3344U);
    EXPECT_EQ(registers_.common(0x20, 8), 0x1122'3344'5566'7780U);
    EXPECT_EQ(registers_.common(0x20, 2), 0U);
    EXPECT_EQ(registers_.common(0x38, 4), 0U);
    registers_.set_common(0x38, 4, 1);
    registers_.set_common(0x18, 2, 32);
    EXPECT_EQ(registers_.common(0x18, 2), 32U);
    registers_.set_common(0x1C, 2, 0);
    EXPECT_EQ(registers_.common(0x1C, 2), 0U);
    registers_.set_common(0x1C, 2, 1);
    registers_.set_common(0x1C, 2, 0);
    EXPECT_EQ(registers_.common(0x1C, 2), 1U) << "only a reset disables";
    registers_.set_common(0x18, 2, 64);
    EXPECT_EQ(registers_.common(0x18, 2), 32U) << "enabled queues do not change";
    registers_.set_common(0x16, 2, 9);
    EXPECT_EQ(registers_.common(0x1A, 2), no_vector);
    registers_.set_common(0x1A, 2, 0);
    registers_.set_common(0x1C, 2, 1);
    EXPECT_EQ(registers_.common(0x18, 2), 0U);
    registers_.set_common(0x08, 4, 1);
    registers_.set_common(0x0C, 4, 1);
    EXPECT_EQ(registers_.common(0x0C, 4), 1U);
    EXPECT_EQ(registers_.common(0x08, 4), 1U);
    registers_.set_common(0x00, 4, 2);
    EXPECT_EQ(registers_.common(0x04, 4), 0U);
    EXPECT_EQ(registers_.common(0x00, 4), 2U);
    registers_.set_common(0x08, 4, 2);
    registers_.set_common(0x0C, 4, 1);
    EXPECT_EQ(registers_.common(0x0C, 4), 0U);
}

TEST_F(VirtioPci, MessagesGoToTheQueuesVectors) {
    ASSERT_TRUE(driver_.start(rings, 16));
    registers_.use_messages();
    echo_once();
    ASSERT_TRUE(machine_.interrupts().wait_beyond(0));
    EXPECT_EQ(machine_.interrupts().messages(1), 1U);
    EXPECT_EQ(machine_.interrupts().last().address, 0xFEE0'0000U);
    (void)driver_.submit(1, {device_writes(buffers + 64, 8)});
    ASSERT_TRUE(machine_.interrupts().wait_beyond(1));
    EXPECT_EQ(machine_.interrupts().messages(2), 1U);
    machine_.device().set_config(0, 1);
    ASSERT_TRUE(machine_.interrupts().wait_beyond(2));
    EXPECT_EQ(machine_.interrupts().messages(0), 1U);
    EXPECT_EQ(registers_.take_isr(), 0) << "not with messages";
    EXPECT_FALSE(machine_.interrupts().high(16 + EchoMachine::pci_slot, EchoMachine::pci_slot));
}

TEST_F(VirtioPci, AVectorThatDoesNotExistIsRefused) {
    registers_.set_common(0x10, 2, 3);
    EXPECT_EQ(registers_.common(0x10, 2), no_vector);
    registers_.set_common(0x10, 2, 2);
    EXPECT_EQ(registers_.common(0x10, 2), 2U);
    registers_.set_common(0x1A, 2, 77);
    EXPECT_EQ(registers_.common(0x1A, 2), no_vector);
    ASSERT_TRUE(registers_.reset());
    EXPECT_EQ(registers_.common(0x10, 2), no_vector);
}

TEST_F(VirtioPci, AQueueWithoutVectorIsSilent) {
    ASSERT_TRUE(driver_.start(rings, 16));
    registers_.use_messages();
    registers_.set_common(0x16, 2, 0);
    registers_.set_common(0x1A, 2, no_vector);
    echo_once();
    machine_.sync();
    EXPECT_EQ(machine_.interrupts().total(), 0U);
}

TEST_F(VirtioPci, APendingMessageShowsAndGoesOutWhenUnmasked) {
    ASSERT_TRUE(driver_.start(rings, 16));
    registers_.use_messages();
    const Gpa table = registers_.bar(1);
    registers_.write(table + 16 + 12, 4, 1);
    echo_once();
    machine_.sync();
    EXPECT_EQ(machine_.interrupts().total(), 0U);
    EXPECT_EQ(registers_.read(table + 0x800, 8), 2U);
    registers_.write(table + 16 + 12, 4, 0);
    EXPECT_EQ(machine_.interrupts().messages(1), 1U);
    EXPECT_EQ(registers_.read(table + 16 + 8, 4), 1U);
    registers_.write(table + 0x800, 8, 0);
    // The function's mask, through configuration space.
    registers_.set_config_space(registers_.msix_capability() + 2, 2, 0xC000);
    ASSERT_FALSE(driver_.queue(0).ask_for_interrupt());
    echo_once();
    machine_.sync();
    EXPECT_EQ(machine_.interrupts().messages(1), 1U);
    registers_.set_config_space(registers_.msix_capability() + 2, 2, 0x8000);
    EXPECT_EQ(machine_.interrupts().messages(1), 2U);
}

TEST_F(VirtioPci, TheLineObeysTheCommandRegister) {
    const auto high = [&] { return machine_.interrupts().high(16 + EchoMachine::pci_slot, EchoMachine::pci_slot); };
    ASSERT_TRUE(driver_.start(rings, 16));
    registers_.set_config_space(4, 2, vmm::pci::command_memory | vmm::pci::command_no_intx);
    echo_once();
    machine_.sync();
    EXPECT_FALSE(high());
    EXPECT_NE(registers_.config_space(6, 2) & vmm::pci::status_interrupt, 0U);
    registers_.set_config_space(4, 2, vmm::pci::command_memory);
    EXPECT_TRUE(high());
    registers_.set_config_space(registers_.msix_capability() + 2, 2, 0x8000);
    EXPECT_FALSE(high()) << "messages are in use";
    registers_.set_config_space(registers_.msix_capability() + 2, 2, 0);
    EXPECT_TRUE(high());
    EXPECT_EQ(registers_.take_isr(), vmm::virtio_isr::queue);
    EXPECT_FALSE(high());
    EXPECT_EQ(registers_.config_space(6, 2) & vmm::pci::status_interrupt, 0U);
}

// ---- doorbells ----

TEST_F(VirtioPci, DoorbellsFollowTheBar) {
    const auto at = [&](std::uint64_t bar) {
        const auto bound = machine_.doorbells().bound();
        return bound.size() == 2 && bound[0].at == Gpa{bar + 0x3000} && bound[1].at == Gpa{bar + 0x3004} &&
               bound[0].bytes == 2;
    };
    EXPECT_TRUE(at(registers_.bar(0).value()));
    registers_.set_config_space(4, 2, 0);
    EXPECT_TRUE(machine_.doorbells().bound().empty());
    registers_.set_config_space(0x10, 4, 0xC900'0000);
    EXPECT_TRUE(machine_.doorbells().bound().empty());
    registers_.set_config_space(4, 2, vmm::pci::command_memory);
    EXPECT_TRUE(at(0xC900'0000));
    ASSERT_TRUE(driver_.start(rings, 16));
    echo_once();
    // A guest may move it under a driver's feet.
    registers_.set_config_space(0x10, 4, 0xCA00'0000);
    EXPECT_TRUE(at(0xCA00'0000));
    echo_once();
    registers_.set_config_space(0x10, 4, 0x1000'0000);
    EXPECT_TRUE(machine_.doorbells().bound().empty()) << "outside of the window";
    EXPECT_EQ(machine_.doorbells().wrong_unbinds(), 0U);
}

TEST_F(VirtioPci, WithoutDoorbellsWritesDo) {
    machine_.doorbells().refuse();
    registers_.set_config_space(0x10, 4, 0xC900'0000);
    EXPECT_TRUE(machine_.doorbells().bound().empty());
    ASSERT_TRUE(driver_.start(rings, 16));
    echo_once();
    registers_.write(registers_.bar(0) + 0x3000 + 4 * 60, 2, 60);
    registers_.write(registers_.bar(0) + 0x3002, 2, 0);
    registers_.write(registers_.bar(0) + 0x3000, 1, 0);
    echo_once();
}

TEST(VirtioMmioDoorbell, OneQueueHasOne) {
    EchoMachine one(Over::mmio, {.queues = 1});
    ASSERT_EQ(one.doorbells().bound().size(), 1U);
    EXPECT_EQ(one.doorbells().bound()[0].at, EchoMachine::mmio_base + 0x50);
    ASSERT_TRUE(one.driver().start(rings, 16));
    (void)one.driver().submit(0, {device_writes(buffers + 64, 8)});
    EXPECT_TRUE(one.driver().wait(0));
    EchoMachine two(Over::mmio, {.queues = 2});
    EXPECT_TRUE(two.doorbells().bound().empty()) << "the value names the queue";
}

// ---- VIRTIO_PCI_CAP_PCI_CFG ----

class VirtioPciAccess : public VirtioPci {
protected:
    void aim(std::uint32_t bar, std::uint32_t offset, std::uint32_t bytes) {
        registers_.set_config_space(capability_ + 4, 1, bar);
        registers_.set_config_space(capability_ + 8, 4, offset);
        registers_.set_config_space(capability_ + 12, 4, bytes);
    }
    [[nodiscard]] std::uint32_t data() { return registers_.config_space(capability_ + 16, 4); }
    const unsigned capability_ = registers_.structure(5).capability;
};

TEST_F(VirtioPciAccess, ReachesTheRegisters) {
    aim(0, 0x12, 2);
    EXPECT_EQ(data() & 0xFFFF, 2U);
    aim(0, 0x14, 1);
    registers_.set_config_space(capability_ + 16, 1, 1);
    EXPECT_EQ(registers_.status(), 1);
    aim(0, 0x2004, 4);
    EXPECT_EQ(data(), 0x0706'0504U);
    aim(1, 8, 4);
    registers_.set_config_space(capability_ + 16, 4, 0x1234);
    EXPECT_EQ(registers_.read(registers_.bar(1) + 8, 4), 0x1234U);
    // Also while memory decoding is off.
    registers_.set_config_space(4, 2, 0);
    aim(0, 0x14, 1);
    EXPECT_EQ(data() & 0xFF, 1U);
}

TEST_F(VirtioPciAccess, RefusesWhatMakesNoSense) {
    aim(0, 0x12, 2);
    registers_.set_config_space(capability_ + 16, 4, 0xAAAA'AAAA);
    for (const auto& [bar, offset, bytes] : {std::array{0U, 0x13U, 2U},
                                             {0U, 0x12U, 3U},
                                             {0U, 0x10U, 8U},
                                             {0U, 0x4000U, 4U},
                                             {0U, 0xFFFF'FFFCU, 4U},
                                             {2U, 0U, 4U},
                                             {6U, 0U, 4U},
                                             {255U, 0U, 1U},
                                             {0U, 0U, 0U}}) {
        aim(bar, offset, bytes);
        registers_.set_config_space(capability_ + 16, 4, 0xBBBB'BBBB);
        EXPECT_EQ(data(), 0xBBBB'BBBBU);
    }
}

TEST_F(VirtioPci, PowerOnForgetsEverything) {
    ASSERT_TRUE(driver_.start(rings, 16));
    registers_.use_messages();
    registers_.set_config_space(registers_.structure(5).capability + 8, 4, 0x2000);
    registers_.set_config_space(0x10, 4, 0xC900'0000);
    machine_.bus().power_on();
    EXPECT_EQ(registers_.status(), 0);
    EXPECT_EQ(registers_.bar(0), EchoMachine::pci_window);
    EXPECT_EQ(registers_.config_space(registers_.msix_capability() + 2, 2), 2U);
    EXPECT_EQ(registers_.config_space(registers_.structure(5).capability + 8, 4), 0U);
    EXPECT_EQ(registers_.read(registers_.bar(1) + 12, 4), 1U) << "masked again";
    EXPECT_EQ(machine_.device().forgets(), 1U);
    ASSERT_TRUE(driver_.start(rings, 16));
    echo_once();
}

}  // namespace
}  // namespace penumbra::test
