#include "vmm/devices/serial.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace penumbra::vmm {
namespace {

class SerialTest : public testing::Test {
protected:
    void send(std::string_view text) {
        for (const char c : text) serial_.write(0, 1, static_cast<unsigned char>(c));
    }
    std::vector<std::string> lines_;
    Serial serial_{[this](std::string_view line) {
        EXPECT_EQ(highest_rank_held(), 0U);
        lines_.emplace_back(line);
    }};
};

TEST_F(SerialTest, LinesComeOutWithoutTheirEnds) {
    EXPECT_EQ(serial_.read(5, 1) & 0x60, 0x60U);  // ready to send
    send("hello\r\n\nlogin: ");
    EXPECT_EQ(lines_, (std::vector<std::string>{"hello", ""}));
    serial_.flush();
    serial_.flush();
    EXPECT_EQ(lines_, (std::vector<std::string>{"hello", "", "login: "}));
}

TEST_F(SerialTest, HostileTextIsTamedAndBounded) {
    send("\x1b]0;title\x07\xff\t.\n");
    EXPECT_EQ(lines_, (std::vector<std::string>{"?]0;title?? ."}));
    send(std::string(5000, 'x'));
    ASSERT_EQ(lines_.size(), 5U);
    EXPECT_EQ(lines_.back(), std::string(1024, 'x'));
}

TEST_F(SerialTest, DivisorHidesDataAndInterruptEnable) {
    serial_.write(3, 1, 0x83);
    serial_.write(0, 1, 0x0C);
    serial_.write(1, 1, 0x01);
    EXPECT_EQ(serial_.read(0, 1), 0x0CU);
    EXPECT_EQ(serial_.read(1, 1), 0x01U);
    serial_.write(3, 1, 0x03);
    EXPECT_EQ(serial_.read(0, 1), 0U);
    EXPECT_EQ(serial_.read(1, 1), 0U);
    EXPECT_EQ(serial_.read(3, 1), 0x03U);
    serial_.flush();
    EXPECT_TRUE(lines_.empty());
}

// What Linux's 8250 driver asks of a port before it believes in it.
TEST_F(SerialTest, PassesTheProbesOfLinux) {
    serial_.write(1, 1, 0);
    EXPECT_EQ(serial_.read(1, 1) & 0x0F, 0U);
    serial_.write(1, 1, 0x0F);
    EXPECT_EQ(serial_.read(1, 1) & 0x0F, 0x0FU);
    serial_.write(4, 1, 0x10 | 0x0A);
    EXPECT_EQ(serial_.read(6, 1) & 0xF0, 0x90U);
    send("x");
    serial_.write(4, 1, 0x03);
    EXPECT_EQ(serial_.read(6, 1) & 0xB0, 0xB0U);
    serial_.write(2, 1, 0x01);
    EXPECT_EQ(serial_.read(2, 1) >> 6, 3U);
    serial_.write(7, 1, 0xA5);
    EXPECT_EQ(serial_.read(7, 1), 0xA5U);
    serial_.flush();
    EXPECT_TRUE(lines_.empty()) << "a looped-back byte got out";
}

TEST_F(SerialTest, SenderEmptyIsReportedOncePerCause) {
    EXPECT_EQ(serial_.read(2, 1), 0x01U);
    serial_.write(1, 1, 0x02);
    EXPECT_EQ(serial_.read(2, 1), 0x02U);
    EXPECT_EQ(serial_.read(2, 1), 0x01U);
    send("x");
    EXPECT_EQ(serial_.read(2, 1), 0x02U);
    serial_.write(1, 1, 0x00);
    EXPECT_EQ(serial_.read(2, 1), 0x01U);
}

TEST_F(SerialTest, WideAccessesAreRefused) {
    serial_.write(0, 2, 'x' | '\n' << 8);
    EXPECT_EQ(serial_.read(5, 4), Device::all_ones);
    serial_.flush();
    EXPECT_TRUE(lines_.empty());
}

}  // namespace
}  // namespace penumbra::vmm
