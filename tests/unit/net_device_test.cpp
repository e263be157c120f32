// The virtio network card's protocol (virtio 1.2, 5.1): what frames become, and what a driver that breaks the rules
// gets.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "tests/support/disk_image.hpp"
#include "tests/support/dma_loop.hpp"
#include "tests/support/fake_dma_machine.hpp"
#include "tests/support/net_bench.hpp"
#include "vmm/devices/virtio/virtio_transport.hpp"

namespace penumbra::test {
namespace {

using vmm::NetHeader;
namespace net_feature = vmm::net_feature;

Frame frame_of(std::uint64_t seed, std::size_t bytes) { return {{}, pattern(seed, bytes)}; }

class NetDevice : public testing::Test {
protected:
    explicit NetDevice(const FakeLink::Options& options = {}) : bench_(machine_, low, options) {
        EXPECT_TRUE(bench_.start());
    }

    [[nodiscard]] const vmm::NetCounters& counters() { return bench_.device().net_counters(); }
    [[nodiscard]] bool needs_reset() {
        return becomes_true([&] { return (bench_.status() & vmm::virtio_status::needs_reset) != 0; });
    }
    /// Writes a packet to send at `data`, and lets the card have its first `bytes`.
    [[nodiscard]] bool send_raw(const NetHeader& header, std::uint32_t bytes) {
        bench_.memory().put(data, header);
        bench_.driver().submit(NetBench::tx, {device_reads(data, bytes)});
        return bench_.driver().wait(NetBench::tx).has_value();
    }

    static constexpr Gpa low = address_of(FakeDmaMachine::low_first);
    static constexpr Gpa data = address_of(FakeDmaMachine::high_first);
    FakeDmaMachine machine_;
    NetBench bench_;
};

struct OffloadingNetDevice : NetDevice {
    OffloadingNetDevice() : NetDevice({.offloads = net_feature::offloads, .mtu = 9000}) {}
};

TEST_F(NetDevice, TellsItsShape) {
    const std::uint64_t offered = bench_.driver().registers().offered();
    const std::uint64_t own = offered & 0xFF'FFFF & ~net_feature::offloads;
    EXPECT_EQ(own, net_feature::mac | net_feature::status | net_feature::merge_buffers | net_feature::mtu);
    EXPECT_EQ(offered & net_feature::offloads, 0U) << "this link has none";
    auto& registers = bench_.driver().registers();
    EXPECT_EQ(registers.device_id(), 1U);
    vmm::MacAddress mac{};
    for (unsigned i = 0; i < mac.size(); ++i) mac[i] = static_cast<std::uint8_t>(registers.config(i, 1));
    EXPECT_EQ(mac, bench_.device().mac());
    EXPECT_EQ(mac[0] & 3, 2) << "one card, locally administered";
    EXPECT_EQ(registers.config(offsetof(vmm::NetConfigSpace, status), 2), vmm::NetConfigSpace::link_up);
    EXPECT_EQ(registers.config(offsetof(vmm::NetConfigSpace, mtu), 2), 1500U);
    EXPECT_EQ(registers.max_queue_size(2), 0U) << "one pair of queues and nothing else";
}

TEST_F(OffloadingNetDevice, OffersWhatItsLinkCarriesOut) {
    EXPECT_EQ(bench_.driver().registers().offered() & net_feature::offloads, net_feature::offloads);
    EXPECT_EQ(bench_.driver().registers().config(offsetof(vmm::NetConfigSpace, mtu), 2), 9000U);
    bench_.sync();
    EXPECT_EQ(bench_.link().features() & net_feature::offloads, net_feature::offloads);
    ASSERT_TRUE(bench_.start(VirtioDriver::all_features & ~net_feature::guest_tso4));
    bench_.sync();
    EXPECT_EQ(bench_.link().features() & net_feature::guest_tso4, 0U);
}

TEST_F(NetDevice, SendsFramesInOrder) {
    for (std::uint64_t i = 0; i < 20; ++i) ASSERT_TRUE(bench_.send(frame_of(i, 14 + 75 * i)));
    const std::vector<Frame> sent = bench_.link().sent();
    ASSERT_EQ(sent.size(), 20U);
    for (std::uint64_t i = 0; i < 20; ++i) EXPECT_EQ(sent[i].bytes, pattern(i, 14 + 75 * i)) << i;
    EXPECT_EQ(counters().sent_frames.get(), 20U);
    EXPECT_EQ(counters().sent_bytes.get(), 20 * 14 + 75 * 190U);
}

TEST_F(NetDevice, TheDriverFramesWhatItSendsAsItLikes) {
    const std::vector<std::byte> bytes = pattern(5, 1000);
    bench_.memory().put(data, NetHeader{});
    bench_.memory().write(data + 12, bytes);
    bench_.driver().submit(NetBench::tx, {device_reads(data, 5), device_reads(data + 5, 10),
                                          device_reads(data + 15, 500), device_reads(data + 515, 497)});
    ASSERT_TRUE(bench_.driver().wait(NetBench::tx).has_value());
    ASSERT_EQ(bench_.link().sent_count(), 1U);
    EXPECT_EQ(bench_.link().sent()[0].bytes, bytes);
}

TEST_F(NetDevice, ReceivesFramesInOrder) {
    bench_.give_buffers(4);
    for (std::uint64_t i = 0; i < 20; ++i) bench_.link().put(frame_of(i, 60 + 70 * i));
    for (std::uint64_t i = 0; i < 20; ++i) {
        const std::optional<Frame> frame = bench_.receive();
        ASSERT_TRUE(frame.has_value()) << i;
        EXPECT_EQ(frame->bytes, pattern(i, 60 + 70 * i)) << i;
        EXPECT_EQ(frame->header.num_buffers, 1U);
        EXPECT_EQ(frame->header.flags, 0U);
    }
    EXPECT_EQ(counters().received_frames.get(), 20U);
    EXPECT_EQ(counters().received_merged.get(), 0U);
}

TEST_F(NetDevice, SpreadsAFrameOverBuffersThatAreTooSmall) {
    bench_.give_buffers(8, 600);
    for (std::uint64_t i = 0; i < 10; ++i) bench_.link().put(frame_of(i, 1514 - i));
    for (std::uint64_t i = 0; i < 10; ++i) {
        const std::optional<Frame> frame = bench_.receive();
        ASSERT_TRUE(frame.has_value()) << i;
        EXPECT_EQ(frame->header.num_buffers, 3U);
        EXPECT_EQ(frame->bytes, pattern(i, 1514 - i)) << i;
    }
    EXPECT_EQ(counters().received_merged.get(), 10U);
    // 600 and 12 bytes are one buffer and the next one's header: no byte more is needed, none less.
    bench_.link().put(frame_of(1, 588));
    EXPECT_EQ(bench_.receive()->header.num_buffers, 1U);
    bench_.link().put(frame_of(1, 589));
    EXPECT_EQ(bench_.receive()->header.num_buffers, 2U);
}

TEST_F(NetDevice, WithoutMergingAFrameThatDoesNotFitIsDropped) {
    ASSERT_TRUE(bench_.start(VirtioDriver::all_features & ~net_feature::merge_buffers));
    bench_.give_buffers(2, 600);
    bench_.link().put(frame_of(1, 589));
    bench_.link().put(frame_of(2, 588));
    const std::optional<Frame> frame = bench_.receive();
    ASSERT_TRUE(frame.has_value());
    EXPECT_EQ(frame->bytes, pattern(2, 588));
    EXPECT_EQ(frame->header.num_buffers, 1U);
    EXPECT_EQ(counters().received_dropped.get(), 1U);
}

TEST_F(NetDevice, AFrameThatNoNumberOfBuffersHoldsDoesNotBlockOthers) {
    ASSERT_TRUE(bench_.start(VirtioDriver::all_features, 128));
    bench_.link().put(frame_of(1, 64 * 12));
    for (unsigned i = 0; i < 64; ++i) bench_.driver().submit(NetBench::rx, {device_writes(data + i * 12, 12)});
    ASSERT_TRUE(becomes_true([&] { return counters().received_dropped.get() == 1; }));
    bench_.link().put(frame_of(2, 63 * 12));
    for (unsigned i = 0; i < 64; ++i) ASSERT_TRUE(bench_.driver().wait(NetBench::rx).has_value());
    EXPECT_EQ(counters().received_frames.get(), 1U);
}

TEST_F(NetDevice, FramesWithoutABufferStayWithTheLink) {
    for (std::uint64_t i = 0; i < 5; ++i) bench_.link().put(frame_of(i, 100));
    bench_.sync();
    EXPECT_EQ(bench_.link().waiting(), 5U);
    bench_.give_buffers(1);
    for (std::uint64_t i = 0; i < 5; ++i) EXPECT_EQ(bench_.receive()->bytes, pattern(i, 100));
}

TEST_F(NetDevice, ALinkThatIsFullHoldsTheGuestBack) {
    bench_.link().take_only(2);
    for (unsigned i = 0; i < 40; ++i) bench_.driver().submit(NetBench::tx, {device_reads(data, 12 + 14 + i)});
    bench_.sync();
    ASSERT_TRUE(becomes_true([&] { return counters().sent_waits.get() == 1; }));
    bench_.sync();
    EXPECT_EQ(bench_.link().sent_count(), 2U);
    bench_.link().take_all();
    for (unsigned i = 0; i < 40; ++i) ASSERT_TRUE(bench_.driver().wait(NetBench::tx).has_value());
    const std::vector<Frame> sent = bench_.link().sent();
    ASSERT_EQ(sent.size(), 40U);
    for (unsigned i = 0; i < 40; ++i) EXPECT_EQ(sent[i].bytes.size(), 14 + i);
}

// ---- rules that drivers break ----

TEST_F(NetDevice, RefusesLengthsThatAreNoFrames) {
    EXPECT_TRUE(send_raw({}, 12)) << "no frame at all";
    EXPECT_TRUE(send_raw({}, 12 + 13)) << "no whole Ethernet header";
    EXPECT_TRUE(send_raw({}, vmm::most_packet_bytes + 1));
    EXPECT_TRUE(send_raw({}, 0x2'0000));
    EXPECT_EQ(counters().sent_refused.get(), 4U);
    EXPECT_TRUE(send_raw({}, vmm::most_packet_bytes)) << "the longest";
    EXPECT_EQ(bench_.link().sent_count(), 1U);
    EXPECT_EQ(bench_.status() & vmm::virtio_status::needs_reset, 0U);
}

TEST_F(NetDevice, RefusesWorkThatWasNotNegotiated) {
    EXPECT_TRUE(send_raw({.flags = NetHeader::needs_csum}, 100));
    EXPECT_TRUE(send_raw({.flags = NetHeader::needs_csum, .gso_type = NetHeader::gso_tcp4, .gso_size = 10}, 100));
    EXPECT_TRUE(send_raw({.gso_type = 3, .gso_size = 10}, 100));
    EXPECT_EQ(counters().sent_refused.get(), 3U);
    EXPECT_EQ(bench_.link().sent_count(), 0U);
}

TEST_F(NetDevice, AFrameWithoutAHeaderNeedsAReset) {
    bench_.driver().submit(NetBench::tx, {device_reads(data, 11)});
    ASSERT_TRUE(needs_reset());
    EXPECT_EQ(bench_.complaints().size(), 1U);
    ASSERT_TRUE(bench_.start());
    EXPECT_TRUE(bench_.send(frame_of(1, 60)));
}

TEST_F(NetDevice, ABufferWithoutRoomForAHeaderNeedsAReset) {
    bench_.driver().submit(NetBench::rx, {device_writes(data, 11)});
    ASSERT_TRUE(needs_reset());
    ASSERT_TRUE(bench_.start());
    bench_.driver().submit(NetBench::rx, {device_reads(data, 2000)});
    ASSERT_TRUE(needs_reset());
}

TEST_F(NetDevice, MemoryThatIsNoRamNeedsAReset) {
    const Gpa hole = address_of(FakeDmaMachine::hole);
    bench_.driver().submit(NetBench::tx, {device_reads(data, 100), device_reads(hole, 100)});
    ASSERT_TRUE(needs_reset());
    EXPECT_EQ(bench_.link().sent_count(), 0U);
    ASSERT_TRUE(bench_.start());
    bench_.driver().submit(NetBench::rx, {device_writes(data, 100), device_writes(hole, 2000)});
    bench_.link().put(frame_of(1, 200));
    ASSERT_TRUE(needs_reset());
    ASSERT_TRUE(bench_.start());
    bench_.give_buffers(1);
    bench_.link().put(frame_of(2, 200));
    EXPECT_EQ(bench_.receive()->bytes, pattern(2, 200));
}

// ---- life ----

TEST_F(NetDevice, APauseMovesNothing) {
    bench_.give_buffers(4);
    ASSERT_TRUE(bench_.send(frame_of(1, 60)));
    bench_.pause();
    EXPECT_TRUE(bench_.link().paused());
    bench_.link().put(frame_of(2, 60));
    bench_.driver().submit(NetBench::tx, {device_reads(data, 12 + 60)});
    bench_.sync();
    bench_.sync();
    EXPECT_EQ(bench_.link().waiting(), 1U);
    EXPECT_EQ(bench_.link().sent_count(), 1U);
    bench_.resume();
    EXPECT_TRUE(bench_.driver().wait(NetBench::tx).has_value());
    EXPECT_EQ(bench_.receive()->bytes, pattern(2, 60));
    EXPECT_EQ(bench_.link().sent_count(), 2U);
    EXPECT_EQ(bench_.link().calls_while_paused(), 0U);
}

TEST_F(NetDevice, AResetDropsWhatIsInHand) {
    bench_.link().take_only(0);
    bench_.driver().submit(NetBench::tx, {device_reads(data, 12 + 60)});
    ASSERT_TRUE(becomes_true([&] { return counters().sent_waits.get() == 1; }));
    const unsigned before = bench_.link().forgets();
    ASSERT_TRUE(bench_.driver().registers().reset());
    EXPECT_EQ(bench_.link().forgets(), before + 1);
    EXPECT_EQ(bench_.link().features(), 0U);
    bench_.link().take_all();
    ASSERT_TRUE(bench_.start());
    EXPECT_TRUE(bench_.send(frame_of(7, 60)));
    ASSERT_EQ(bench_.link().sent_count(), 1U) << "the frame of before the reset was sent";
    EXPECT_EQ(bench_.link().sent()[0].bytes, pattern(7, 60));
}

TEST_F(NetDevice, TellsTheDriverThatTheLinkIsDown) {
    const std::uint32_t generation = bench_.driver().registers().config_generation();
    bench_.link().go_down();
    bench_.sync();
    EXPECT_EQ(bench_.driver().registers().config(offsetof(vmm::NetConfigSpace, status), 2), 0U);
    EXPECT_NE(bench_.driver().registers().config_generation(), generation);
    EXPECT_NE(bench_.driver().registers().take_isr() & 2, 0);
    ASSERT_EQ(bench_.complaints().size(), 1U);
    EXPECT_NE(bench_.complaints()[0].find("net0"), std::string::npos);
}

TEST_F(NetDevice, CountsByName) {
    ASSERT_TRUE(bench_.send(frame_of(1, 60)));
    const auto named = bench_.device().named_counters();
    const auto found = std::ranges::find(named, "sent_bytes", [](const auto& each) { return each.first; });
    ASSERT_NE(found, named.end());
    EXPECT_EQ(found->second, 60U);
}

}  // namespace
}  // namespace penumbra::test
