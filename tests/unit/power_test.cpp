#include "vmm/devices/power.hpp"

#include <gtest/gtest.h>

#include <array>

#include "vmm/boot/platform_map.hpp"

namespace penumbra::vmm {
namespace {

class Listener final : public PowerListener {
public:
    void guest_powered_off() override {
        EXPECT_EQ(highest_rank_held(), 0U);
        ++offs;
    }
    void guest_wants_reset() override {
        EXPECT_EQ(highest_rank_held(), 0U);
        ++resets;
    }
    int offs = 0, resets = 0;
};

class Line final : public Interrupts {
public:
    void signal(const MsiMessage&) override { ADD_FAILURE() << "fixed hardware sends no messages"; }
    void set_line(Gsi line, std::uint32_t, LineLevel to) override {
        EXPECT_EQ(line, Gsi{platform::sci_gsi});
        level = to;
    }
    LineLevel level = LineLevel::low;
};

class PowerTest : public testing::Test {
protected:
    static constexpr std::uint64_t status = 0, enable = 2, control = 4, timer = 8;
    static constexpr std::uint64_t button = 0x100;

    Listener listener_;
    Line line_;
    std::chrono::nanoseconds now_{0};
    PowerManagement power_{listener_, line_, [this] { return now_; }};
};

TEST_F(PowerTest, OnlySleepTypeFiveWithItsEnableBitTurnsOff) {
    power_.write(control, 2, 5U << 10);
    EXPECT_EQ(listener_.offs, 0);
    power_.write(control, 2, 3U << 10 | 1U << 13);
    EXPECT_EQ(listener_.offs, 0);
    EXPECT_EQ(power_.read(control, 2), 3U << 10 | 1U) << "ACPI mode is on, the command is gone";
    power_.write(control, 2, 5U << 10 | 1U << 13);
    EXPECT_EQ(listener_.offs, 1);
    power_.write(control + 1, 1, (5U << 10 | 1U << 13) >> 8);
    EXPECT_EQ(listener_.offs, 2) << "by a byte access";
}

TEST_F(PowerTest, TheButtonInterruptsWhereItIsWantedUntilItsStatusIsCleared) {
    power_.press_power_button();
    EXPECT_EQ(power_.read(status, 2), button);
    EXPECT_EQ(line_.level, LineLevel::low);
    power_.write(enable, 2, 0xFFFF);
    EXPECT_EQ(power_.read(enable, 2) & button, button);
    EXPECT_EQ(power_.read(enable, 2) & 1, 0U) << "the timer interrupts nobody";
    EXPECT_EQ(line_.level, LineLevel::high);
    power_.write(status, 2, 0x20);
    EXPECT_EQ(line_.level, LineLevel::high) << "another bit was cleared";
    power_.write(status, 2, button);
    EXPECT_EQ(line_.level, LineLevel::low);
    EXPECT_EQ(power_.read(status, 2), 0U);
    power_.press_power_button();
    EXPECT_EQ(line_.level, LineLevel::high);
    power_.reset();
    EXPECT_EQ(line_.level, LineLevel::low);
    EXPECT_EQ(power_.read(status, 4), 0U);
}

TEST_F(PowerTest, StatusAndEnableAreReadInOneAccessToo) {
    power_.write(status, 4, std::uint64_t{0x0120} << 16);
    power_.press_power_button();
    EXPECT_EQ(power_.read(status, 4), std::uint64_t{0x0120} << 16 | button);
}

TEST_F(PowerTest, TheTimerCountsItsFrequencyAndWraps) {
    EXPECT_EQ(power_.read(timer, 4), 0U);
    now_ = std::chrono::seconds{1};
    EXPECT_EQ(power_.read(timer, 4), platform::pm_timer_hertz);
    now_ = std::chrono::seconds{2000} + std::chrono::milliseconds{500};
    EXPECT_EQ(power_.read(timer, 4), (platform::pm_timer_hertz * 2000 + platform::pm_timer_hertz / 2) & 0xFFFF'FFFF);
    power_.write(timer, 4, 0);
    EXPECT_NE(power_.read(timer, 4), 0U) << "it cannot be set";
}

TEST_F(PowerTest, NothingElseIsThere) {
    power_.write(6, 2, 0xFFFF);
    EXPECT_EQ(power_.read(6, 2), 0U);
    EXPECT_EQ(listener_.offs + listener_.resets, 0);
}

TEST_F(PowerTest, ResetControlResetsWhenItsBitIsWritten) {
    for (const std::uint8_t value : std::array<std::uint8_t, 3>{0x00, 0x02, 0x0A})
        write_reset_control(value, listener_);
    EXPECT_EQ(listener_.resets, 0);
    for (const std::uint8_t value : std::array<std::uint8_t, 3>{0x06, 0x0E, 0x04})
        write_reset_control(value, listener_);
    EXPECT_EQ(listener_.resets, 3);
}

TEST_F(PowerTest, TheKeyboardControllerKnowsOneCommand) {
    KeyboardReset keyboard(listener_);
    EXPECT_EQ(keyboard.read(0, 1) & 0x02, 0U) << "always ready to be told";
    for (const std::uint64_t command : {0x00U, 0xFFU, 0xFCU, 0xD1U}) keyboard.write(0, 1, command);
    EXPECT_EQ(listener_.resets, 0);
    keyboard.write(0, 1, 0xFE);
    EXPECT_EQ(listener_.resets, 1);
}

}  // namespace
}  // namespace penumbra::vmm
