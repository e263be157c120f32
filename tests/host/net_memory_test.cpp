// A network card over real guest memory whose pages are taken out as fast as they come: every frame arrives, once, in
// order and whole.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <vector>

#include "tests/support/disk_image.hpp"
#include "tests/support/dma_loop.hpp"
#include "tests/support/dma_machine.hpp"
#include "tests/support/fake_dma_machine.hpp"
#include "tests/support/net_bench.hpp"

namespace penumbra::test {
namespace {

using namespace std::chrono_literals;

constexpr Gfn first_page{0x300};
constexpr std::uint64_t all_pages = 256;

/// Frames of random length, in buffers that lie anywhere and cross pages.
class Traffic {
public:
    Traffic(NetBench& bench, std::uint64_t seed) : bench_(bench), random_(seed) {}

    /// Sends and receives `frames` each, a few at a time.
    void run(unsigned frames) {
        for (unsigned i = 0; i < receive_slots; ++i) give(i);
        unsigned sent = 0;
        unsigned received = 0;
        while (received < frames && !testing::Test::HasFatalFailure()) {
            for (unsigned i = 0; i < 4 && sent < frames; ++i) send(sent++);
            for (unsigned i = 0; i < 4 && put_ < frames; ++i) put(put_++);
            while (received < put_ && !testing::Test::HasFatalFailure()) receive(received++);
            for (; in_flight_ > 0; --in_flight_) ASSERT_TRUE(bench_.driver().wait(NetBench::tx).has_value());
        }
        check_sent(frames);
    }

private:
    static constexpr unsigned receive_slots = 12;
    static constexpr std::uint32_t slot_bytes = 3 * page_bytes;
    static constexpr std::uint32_t buffer_bytes = 1800;

    [[nodiscard]] std::size_t length(std::uint64_t number) const { return 14 + (number * 7919 + 13) % 5000; }
    [[nodiscard]] Gpa slot(unsigned number) const { return bench_.end() + std::uint64_t{number} * slot_bytes; }

    void send(unsigned number) {
        const Gpa at = slot(receive_slots + number % 4) + random_() % page_bytes;
        bench_.memory().put(at, vmm::NetHeader{});
        bench_.memory().write(at + 12, pattern(number, length(number)));
        bench_.driver().submit(NetBench::tx, {device_reads(at, static_cast<std::uint32_t>(12 + length(number)))});
        ++in_flight_;
    }
    void put(unsigned number) { bench_.link().put({{}, pattern(1000 + number, length(number))}); }
    void give(unsigned number) {
        const Gpa at = slot(number) + random_() % page_bytes;
        const std::uint16_t head =
            bench_.driver().submit(NetBench::rx, {device_writes(at, 700), device_writes(at + 700, buffer_bytes - 700)});
        buffer_of_head_[head] = {number, at};
    }
    void receive(unsigned number) {
        std::vector<std::byte> bytes;
        std::vector<unsigned> used;
        for (unsigned left = 1; left > 0; --left) {
            const auto done = bench_.driver().wait(NetBench::rx);
            ASSERT_TRUE(done.has_value()) << number;
            const auto [from, at] = buffer_of_head_[done->head];
            used.push_back(from);
            std::vector<std::byte> piece(done->written);
            bench_.memory().read(at, piece);
            if (bytes.empty()) left = std::to_integer<unsigned>(piece[10]);
            bytes.insert(bytes.end(), piece.begin(), piece.end());
        }
        ASSERT_EQ(used.size(), (12 + length(number) + buffer_bytes - 1) / buffer_bytes);
        bytes.erase(bytes.begin(), bytes.begin() + 12);
        ASSERT_EQ(bytes, pattern(1000 + number, length(number))) << number;
        for (const unsigned each : used) give(each);
    }
    void check_sent(unsigned frames) {
        const std::vector<Frame> sent = bench_.link().sent();
        ASSERT_EQ(sent.size(), frames);
        for (unsigned i = 0; i < frames; ++i) ASSERT_EQ(sent[i].bytes, pattern(i, length(i))) << i;
    }

    struct Where {
        unsigned slot = 0;
        Gpa at;
    };
    NetBench& bench_;
    std::mt19937_64 random_;
    std::vector<Where> buffer_of_head_ = std::vector<Where>(64);
    unsigned put_ = 0;
    unsigned in_flight_ = 0;
};

class NetMemory : public testing::TestWithParam<std::uint64_t> {};

TEST_P(NetMemory, EveryFrameArrivesWhileItsPagesLeave) {
    DmaMachine machine;
    NetBench bench(machine, address_of(first_page), FakeLink::Options{});
    ASSERT_TRUE(bench.start());
    machine.start_evictor(GfnRange{first_page, all_pages}, GetParam());
    Traffic(bench, GetParam()).run(120);
    machine.stop_evictor();
    EXPECT_GT(bench.device().net_counters().wanted_pages.get(), 20U);
    EXPECT_GT(bench.device().net_counters().received_merged.get(), 20U);
    EXPECT_TRUE(bench.complaints().empty());
    EXPECT_EQ(machine.errors(), 0U);
}
INSTANTIATE_TEST_SUITE_P(Seeds, NetMemory, testing::Values(1, 2, 3));

}  // namespace
}  // namespace penumbra::test
