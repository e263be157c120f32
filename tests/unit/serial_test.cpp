#include "vmm/devices/serial.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace penumbra::vmm {
namespace {

class Peer final : public ConsolePeer {
public:
    void sent(std::span<const std::byte> bytes) override {
        EXPECT_EQ(highest_rank_held(), 0U);
        for (const std::byte byte : bytes) text += static_cast<char>(byte);
    }
    void ready_for_more() override {
        EXPECT_EQ(highest_rank_held(), 0U);
        ++asked;
    }
    std::string text;
    int asked = 0;
};

class Line final : public Interrupts {
public:
    void signal(const MsiMessage&) override { ADD_FAILURE() << "a serial port sends no messages"; }
    void set_line(Gsi line, std::uint32_t, LineLevel to) override {
        EXPECT_EQ(line, Gsi{4});
        if (to == LineLevel::high && level == LineLevel::low) ++rises;
        level = to;
    }
    LineLevel level = LineLevel::low;
    int rises = 0;
};

class SerialTest : public testing::Test {
protected:
    static constexpr std::uint64_t data = 0, ier = 1, iir = 2, fcr = 2, lcr = 3, mcr = 4, lsr = 5, msr = 6;

    void send(std::string_view text) {
        for (const char c : text) serial_.write(data, 1, static_cast<unsigned char>(c));
    }
    std::size_t offer(std::string_view text) { return serial_.receive(std::as_bytes(std::span(text))); }
    /// As Linux's driver does when the port is opened.
    void open() {
        serial_.write(fcr, 1, 0x07);
        serial_.write(mcr, 1, 0x0B);
        serial_.write(ier, 1, 0x05);
    }
    std::string take() {
        std::string text;
        while ((serial_.read(lsr, 1) & 1) != 0) text += static_cast<char>(serial_.read(data, 1));
        return text;
    }

    Peer peer_;
    Line line_;
    Serial serial_{peer_, &line_};
};

TEST_F(SerialTest, EveryByteIsSentAtOnce) {
    EXPECT_EQ(serial_.read(lsr, 1) & 0x60, 0x60U);  // ready to send
    send(std::string_view("a\r\n\0\x1b", 5));
    EXPECT_EQ(peer_.text, std::string_view("a\r\n\0\x1b", 5));
}

TEST_F(SerialTest, DivisorHidesDataAndInterruptEnable) {
    serial_.write(lcr, 1, 0x83);
    serial_.write(data, 1, 0x0C);
    serial_.write(ier, 1, 0x01);
    EXPECT_EQ(serial_.read(data, 1), 0x0CU);
    EXPECT_EQ(serial_.read(ier, 1), 0x01U);
    serial_.write(lcr, 1, 0x03);
    EXPECT_EQ(serial_.read(data, 1), 0U);
    EXPECT_EQ(serial_.read(ier, 1), 0U);
    EXPECT_EQ(serial_.read(lcr, 1), 0x03U);
    EXPECT_EQ(peer_.text, "");
}

// What Linux's 8250 driver asks of a port before it believes in it.
TEST_F(SerialTest, PassesTheProbesOfLinux) {
    serial_.write(ier, 1, 0);
    EXPECT_EQ(serial_.read(ier, 1) & 0x0F, 0U);
    serial_.write(ier, 1, 0x0F);
    EXPECT_EQ(serial_.read(ier, 1) & 0x0F, 0x0FU);
    serial_.write(mcr, 1, 0x10 | 0x0A);
    EXPECT_EQ(serial_.read(msr, 1) & 0xF0, 0x90U);
    send("x");
    serial_.write(mcr, 1, 0x03);
    EXPECT_EQ(serial_.read(msr, 1) & 0xB0, 0xB0U);
    serial_.write(fcr, 1, 0x01);
    EXPECT_EQ(serial_.read(iir, 1) >> 6, 3U);
    serial_.write(7, 1, 0xA5);
    EXPECT_EQ(serial_.read(7, 1), 0xA5U);
    EXPECT_EQ(peer_.text, "") << "a looped-back byte got out";
}

TEST_F(SerialTest, LoopedBackBytesAreReceivedAndTooManyAreAnOverrun) {
    serial_.write(mcr, 1, 0x10);
    send("ab");
    EXPECT_EQ(serial_.read(lsr, 1) & 0x03, 0x03U);
    EXPECT_EQ(serial_.read(lsr, 1) & 0x03, 0x01U) << "reading the status clears the overrun";
    EXPECT_EQ(take(), "a");
}

TEST_F(SerialTest, SenderEmptyIsReportedOncePerCause) {
    EXPECT_EQ(serial_.read(iir, 1), 0x01U);
    serial_.write(ier, 1, 0x02);
    EXPECT_EQ(serial_.read(iir, 1), 0x02U);
    EXPECT_EQ(serial_.read(iir, 1), 0x01U);
    send("x");
    EXPECT_EQ(serial_.read(iir, 1), 0x02U);
    serial_.write(ier, 1, 0x00);
    EXPECT_EQ(serial_.read(iir, 1), 0x01U);
}

TEST_F(SerialTest, ThePinFollowsTheCauseAndIsConnectedByOut2) {
    serial_.write(ier, 1, 0x02);
    EXPECT_EQ(line_.level, LineLevel::low) << "not connected";
    serial_.write(mcr, 1, 0x08);
    EXPECT_EQ(line_.level, LineLevel::high);
    EXPECT_EQ(serial_.read(iir, 1), 0x02U);
    EXPECT_EQ(line_.level, LineLevel::low);
    send("x");
    EXPECT_EQ(line_.level, LineLevel::high);
    EXPECT_EQ(line_.rises, 2);
    serial_.reset();
    EXPECT_EQ(line_.level, LineLevel::low);
}

TEST_F(SerialTest, InputWaitsUntilTheDriverWantsIt) {
    EXPECT_EQ(offer("early"), 0U);
    serial_.write(ier, 1, 0x0F);  // a probe, not a wish: the pin is not connected
    EXPECT_EQ(peer_.asked, 0);
    serial_.write(ier, 1, 0x00);
    open();
    EXPECT_EQ(peer_.asked, 1);
    EXPECT_EQ(offer("early"), 5U);
    EXPECT_EQ(line_.level, LineLevel::high);
    EXPECT_EQ(serial_.read(iir, 1), 0xC4U);
    EXPECT_EQ(take(), "early");
    EXPECT_EQ(line_.level, LineLevel::low);
    EXPECT_EQ(peer_.asked, 1) << "nothing was refused";
}

TEST_F(SerialTest, MoreThanTheFifoHoldsIsAskedForWhenItIsEmpty) {
    open();
    const std::string text = "0123456789abcdefXYZ";
    EXPECT_EQ(offer(text), Serial::fifo_bytes);
    EXPECT_EQ(offer("XYZ"), 0U);
    EXPECT_EQ(static_cast<char>(serial_.read(data, 1)), '0');
    EXPECT_EQ(peer_.asked, 0);
    EXPECT_EQ(take(), "123456789abcdef");
    EXPECT_EQ(peer_.asked, 1);
    EXPECT_EQ(offer("XYZ"), 3U);
    EXPECT_EQ(take(), "XYZ");
    EXPECT_EQ(peer_.asked, 1);
}

TEST_F(SerialTest, ResetForgetsWhatWasReceivedAndEveryRegister) {
    open();
    EXPECT_EQ(offer("x"), 1U);
    serial_.reset();
    EXPECT_EQ(take(), "");
    EXPECT_EQ(serial_.read(ier, 1), 0U);
    EXPECT_EQ(serial_.read(mcr, 1), 0U);
    EXPECT_EQ(offer("y"), 0U);
}

TEST_F(SerialTest, WideAccessesAreRefused) {
    serial_.write(data, 2, 'x' | '\n' << 8);
    EXPECT_EQ(serial_.read(lsr, 4), Device::all_ones);
    EXPECT_EQ(peer_.text, "");
}

}  // namespace
}  // namespace penumbra::vmm
