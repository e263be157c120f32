// A network card whose guest's pages are out: frames wait for their pages, together, and hold up nothing else.
#include <gtest/gtest.h>

#include <vector>

#include "tests/support/disk_image.hpp"
#include "tests/support/dma_loop.hpp"
#include "tests/support/fake_dma_machine.hpp"
#include "tests/support/net_bench.hpp"

namespace penumbra::test {
namespace {

class NetAbsent : public testing::Test {
protected:
    NetAbsent() : bench_(machine_, address_of(FakeDmaMachine::low_first), FakeLink::Options{}) {
        EXPECT_TRUE(bench_.start());
    }
    [[nodiscard]] static Gpa page(std::uint64_t number) {
        return address_of(FakeDmaMachine::high_first) + number * page_bytes;
    }
    [[nodiscard]] Hvp host_page(std::uint64_t number) { return machine_.host(FakeDmaMachine::high_first + number); }
    void take_out(std::uint64_t number) { (void)machine_.evict(GfnRange{FakeDmaMachine::high_first + number, 1}); }
    /// A packet to send that fills its page but for the last byte, which belongs to nobody.
    void put_packet(std::uint64_t number) {
        bench_.memory().put(page(number), vmm::NetHeader{});
        bench_.memory().write(page(number) + 12, pattern(number, frame_bytes));
    }

    static constexpr std::uint32_t frame_bytes = 3000;
    FakeDmaMachine machine_;
    NetBench bench_;
};

TEST_F(NetAbsent, EverythingOfAFrameMayBeOut) {
    for (std::uint64_t i = 0; i < 5; ++i) {
        put_packet(i);
        machine_.evict_all();
        bench_.driver().submit(NetBench::tx, {device_reads(page(i), 12 + frame_bytes)});
        ASSERT_TRUE(bench_.driver().wait(NetBench::tx).has_value());
        bench_.driver().submit(NetBench::rx, {device_writes(page(40) + 4000, 2000), device_writes(page(45), 4096)});
        machine_.evict_all();
        bench_.link().put({{}, pattern(100 + i, frame_bytes)});
        const auto done = bench_.driver().wait(NetBench::rx);
        ASSERT_TRUE(done.has_value());
        EXPECT_EQ(done->written, 12 + frame_bytes);
        std::vector<std::byte> got(2000);
        bench_.memory().read(page(40) + 4000, got);
        got.resize(12 + frame_bytes);
        bench_.memory().read(page(45), std::span(got).subspan(2000));
        got.erase(got.begin(), got.begin() + 12);
        EXPECT_EQ(got, pattern(100 + i, frame_bytes));
    }
    const std::vector<Frame> sent = bench_.link().sent();
    ASSERT_EQ(sent.size(), 5U);
    for (std::uint64_t i = 0; i < 5; ++i) EXPECT_EQ(sent[i].bytes, pattern(i, frame_bytes));
    EXPECT_GE(bench_.device().net_counters().wanted_pages.get(), 5U + 5U * 3U);
}

TEST_F(NetAbsent, FramesWaitTogetherAndLeaveInOrder) {
    for (std::uint64_t i = 0; i < 6; ++i) put_packet(i);
    for (std::uint64_t i = 0; i < 6; i += 2) {
        take_out(i);
        machine_.slow().hold(host_page(i));
    }
    for (std::uint64_t i = 0; i < 6; ++i) {
        bench_.driver().submit(NetBench::tx, {device_reads(page(i), 12 + frame_bytes)});
    }
    ASSERT_TRUE(becomes_true([&] { return bench_.device().net_counters().wanted_pages.get() == 3; }))
        << "each asks for its page without waiting for the others";
    EXPECT_EQ(bench_.link().sent_count(), 0U);
    // The other direction does not care.
    bench_.give_buffers(1);
    bench_.link().put({{}, pattern(50, 500)});
    EXPECT_EQ(bench_.receive()->bytes, pattern(50, 500));
    machine_.slow().let_go();
    for (std::uint64_t i = 0; i < 6; ++i) ASSERT_TRUE(bench_.driver().wait(NetBench::tx).has_value());
    const std::vector<Frame> sent = bench_.link().sent();
    ASSERT_EQ(sent.size(), 6U);
    for (std::uint64_t i = 0; i < 6; ++i) EXPECT_EQ(sent[i].bytes, pattern(i, frame_bytes)) << i;
}

TEST_F(NetAbsent, BuffersWaitTogetherAndComeBackInOrder) {
    std::vector<std::uint16_t> heads;
    for (std::uint64_t i = 0; i < 4; ++i) {
        (void)bench_.memory().get<std::uint8_t>(page(i));
        heads.push_back(bench_.driver().submit(NetBench::rx, {device_writes(page(i), 4096)}));
    }
    bench_.sync();
    take_out(0);
    take_out(2);
    machine_.slow().hold(host_page(0));
    machine_.slow().hold(host_page(2));
    for (std::uint64_t i = 0; i < 4; ++i) bench_.link().put({{}, pattern(i, frame_bytes)});
    ASSERT_TRUE(becomes_true([&] { return bench_.device().net_counters().wanted_pages.get() == 2; }));
    bench_.sync();
    EXPECT_FALSE(bench_.driver().queue(NetBench::rx).take().has_value());
    // Sending goes on.
    EXPECT_TRUE(bench_.send({{}, pattern(60, 500)}));
    machine_.slow().let_go();
    for (std::uint64_t i = 0; i < 4; ++i) {
        const auto done = bench_.driver().wait(NetBench::rx);
        ASSERT_TRUE(done.has_value());
        EXPECT_EQ(done->head, heads[i]) << "the order of the frames";
        std::vector<std::byte> got(frame_bytes);
        bench_.memory().read(page(i) + 12, got);
        EXPECT_EQ(got, pattern(i, frame_bytes));
    }
}

TEST_F(NetAbsent, AResetWaitsForNoPage) {
    put_packet(0);
    take_out(0);
    take_out(1);
    machine_.slow().hold(host_page(0));
    machine_.slow().hold(host_page(1));
    bench_.driver().submit(NetBench::tx, {device_reads(page(0), 12 + frame_bytes)});
    bench_.driver().submit(NetBench::rx, {device_writes(page(1), 4096)});
    bench_.link().put({{}, pattern(1, frame_bytes)});
    ASSERT_TRUE(becomes_true([&] { return bench_.device().net_counters().wanted_pages.get() == 2; }));
    ASSERT_TRUE(bench_.driver().registers().reset());
    machine_.slow().let_go();
    ASSERT_TRUE(bench_.start());
    EXPECT_TRUE(bench_.send({{}, pattern(9, 60)}));
    ASSERT_EQ(bench_.link().sent_count(), 1U);
    EXPECT_EQ(bench_.link().sent()[0].bytes, pattern(9, 60));
    bench_.give_buffers(1);
    bench_.link().put({{}, pattern(8, 60)});
    EXPECT_EQ(bench_.receive()->bytes, pattern(8, 60));
}

TEST_F(NetAbsent, APausedCardTouchesNoMemoryAndLosesNothing) {
    put_packet(0);
    take_out(0);
    machine_.slow().hold(host_page(0));
    bench_.driver().submit(NetBench::tx, {device_reads(page(0), 12 + frame_bytes)});
    ASSERT_TRUE(becomes_true([&] { return machine_.slow().waiting() == 1; }));
    bench_.pause();
    machine_.slow().let_go();
    ASSERT_TRUE(becomes_true([&] { return machine_.service().pending() == 0; }));
    bench_.sync();
    EXPECT_EQ(bench_.link().sent_count(), 0U);
    take_out(0);
    bench_.resume();
    ASSERT_TRUE(bench_.driver().wait(NetBench::tx).has_value());
    EXPECT_EQ(bench_.link().sent()[0].bytes, pattern(0, frame_bytes));
    EXPECT_EQ(bench_.link().calls_while_paused(), 0U);
}

}  // namespace
}  // namespace penumbra::test
