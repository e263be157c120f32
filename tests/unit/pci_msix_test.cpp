// Message interrupts: the table, its masks, and what becomes of messages meanwhile.
#include <gtest/gtest.h>

#include "tests/support/fake_interrupts.hpp"
#include "vmm/devices/device.hpp"
#include "vmm/devices/pci/msix.hpp"

namespace penumbra::test {
namespace {

using vmm::Msix;

class MsixTest : public testing::Test {
protected:
    void set(unsigned vector, std::uint32_t data, bool masked) {
        msix_.write_table(16 * vector, 8, 0x1'FEE0'1000);
        msix_.write_table(16 * vector + 8, 4, data);
        msix_.write_table(16 * vector + 12, 4, masked ? 1 : 0);
    }
    FakeInterrupts interrupts_;
    Msix msix_{70, interrupts_};
};

TEST_F(MsixTest, SignalsWhatTheGuestWrote) {
    set(3, 0x77, false);
    msix_.signal(3);
    EXPECT_EQ(interrupts_.total(), 0U) << "not enabled";
    msix_.set_control(Msix::control_enable);
    EXPECT_EQ(interrupts_.total(), 0U) << "and not remembered";
    msix_.signal(3);
    EXPECT_EQ(interrupts_.last(), (vmm::MsiMessage{0x1'FEE0'1000, 0x77}));
    msix_.signal(70);
    msix_.signal(0xFFFF);
    EXPECT_EQ(interrupts_.total(), 1U);
}

TEST_F(MsixTest, EveryVectorIsMaskedAtFirst) {
    msix_.set_control(Msix::control_enable);
    msix_.signal(0);
    EXPECT_EQ(interrupts_.total(), 0U);
    EXPECT_EQ(msix_.read_pending(0, 8), 1U);
    msix_.reset();
    EXPECT_EQ(msix_.read_pending(0, 8), 0U);
    EXPECT_FALSE(msix_.enabled());
}

TEST_F(MsixTest, AMaskedMessageGoesOutOnceWhenUnmasked) {
    msix_.set_control(Msix::control_enable);
    set(69, 9, true);
    msix_.signal(69);
    msix_.signal(69);
    EXPECT_EQ(msix_.read_pending(8, 8), 1ULL << 5);
    EXPECT_EQ(msix_.read_pending(8, 4), 1U << 5);
    EXPECT_EQ(msix_.read_pending(0, 8), 0U);
    msix_.write_table(16 * 69 + 12, 4, 0);
    EXPECT_EQ(interrupts_.messages(9), 1U);
    EXPECT_EQ(msix_.read_pending(8, 8), 0U);
    msix_.write_table(16 * 69 + 12, 4, 0);
    EXPECT_EQ(interrupts_.messages(9), 1U);
}

TEST_F(MsixTest, TheFunctionsMaskHoldsAll) {
    set(0, 1, false);
    set(1, 2, true);
    msix_.set_control(Msix::control_enable | Msix::control_mask_all);
    msix_.signal(0);
    msix_.signal(1);
    EXPECT_EQ(interrupts_.total(), 0U);
    msix_.set_control(Msix::control_enable);
    EXPECT_EQ(interrupts_.messages(1), 1U);
    EXPECT_EQ(interrupts_.messages(2), 0U) << "its own mask still holds";
    EXPECT_EQ(msix_.read_pending(0, 4), 2U);
    msix_.set_control(0);
    EXPECT_EQ(msix_.read_pending(0, 4), 0U);
}

TEST_F(MsixTest, TheTableIsAccessedInWords) {
    set(2, 0xABCD, true);
    EXPECT_EQ(msix_.read_table(32, 8), 0x1'FEE0'1000U);
    EXPECT_EQ(msix_.read_table(36, 4), 1U);
    EXPECT_EQ(msix_.read_table(40, 8), 0x1'0000'ABCDU);
    msix_.write_table(40, 8, 0x1'0000'1111);
    EXPECT_EQ(msix_.read_table(40, 4), 0x1111U);
    msix_.write_table(32, 4, 0xFFFF'FFFF);
    EXPECT_EQ(msix_.read_table(32, 4), 0xFFFF'FFFCU) << "words only";
    for (const auto& [offset, size] : {std::pair{33U, 4U}, {36U, 8U}, {32U, 2U}, {32U, 1U}}) {
        EXPECT_EQ(msix_.read_table(offset, size), vmm::Device::all_ones);
        EXPECT_EQ(msix_.read_pending(offset, size), vmm::Device::all_ones);
        msix_.write_table(offset, size, 0);
    }
    EXPECT_EQ(msix_.read_table(32, 4), 0xFFFF'FFFCU);
    EXPECT_EQ(msix_.read_table(16 * 70, 8), 0U);
    msix_.write_table(16 * 70, 8, 1);
    EXPECT_EQ(msix_.read_pending(0x100, 8), 0U);
}

}  // namespace
}  // namespace penumbra::test
