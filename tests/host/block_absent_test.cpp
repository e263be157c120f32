// A disk whose guest's pages are out: requests go on page by page, and one page that does not come holds up the one
// request that names it.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#include "tests/support/block_bench.hpp"
#include "tests/support/cpu_waits.hpp"
#include "tests/support/dma_loop.hpp"
#include "tests/support/fake_dma_machine.hpp"
#include "tests/support/pace.hpp"

namespace penumbra::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using Bytes = std::vector<std::byte>;

constexpr std::uint64_t disk_bytes = 1U << 20;

class BlockAbsent : public testing::Test {
protected:
    BlockAbsent() : image_(disk_bytes), bench_((image_.write(0, content_), machine_), image_.options(), low) {
        EXPECT_TRUE(bench_.start());
    }
    Bytes guest(Gpa at, std::size_t bytes) {
        Bytes read(bytes);
        bench_.memory().read(at, read);
        return read;
    }
    [[nodiscard]] Bytes part(std::uint64_t offset, std::size_t bytes) const {
        const auto from = content_.begin() + static_cast<std::ptrdiff_t>(offset);
        return {from, from + static_cast<std::ptrdiff_t>(bytes)};
    }
    [[nodiscard]] static Gpa page(std::uint64_t number) { return data + number * page_bytes; }
    void bring_in(Gpa at) { (void)guest(at, 1); }

    static constexpr Gpa low = address_of(FakeDmaMachine::low_first);
    static constexpr Gpa data = address_of(FakeDmaMachine::high_first);
    const Bytes content_ = pattern(1, disk_bytes);
    FakeDmaMachine machine_;
    DiskImage image_;
    BlockBench bench_;
};

TEST_F(BlockAbsent, EverythingOfARequestMayBeOut) {
    machine_.evict_all();
    ASSERT_EQ(bench_.run({VIRTIO_BLK_T_IN, 5, {device_writes(page(1) + 512, 5 * 4096)}}), VIRTIO_BLK_S_OK);
    EXPECT_EQ(guest(page(1) + 512, 5 * 4096), part(5 * 512, 5 * 4096));
    EXPECT_GE(bench_.device().block_counters().wanted_pages.get(), 6U);
    machine_.evict_all();
    ASSERT_EQ(bench_.run({VIRTIO_BLK_T_OUT, 100, {device_reads(page(1) + 512, 5 * 4096)}}), VIRTIO_BLK_S_OK);
    const Bytes now = image_.contents();
    EXPECT_TRUE(std::equal(content_.begin() + 5 * 512, content_.begin() + 5 * 512 + 5 * 4096, now.begin() + 51200));
}

TEST_F(BlockAbsent, PresentPagesAreOneKernelRequest) {
    for (std::uint64_t i = 0; i < 32; ++i) bring_in(page(i));
    ASSERT_EQ(bench_.run({VIRTIO_BLK_T_IN, 0, {device_writes(page(0), 32 * 4096)}}), VIRTIO_BLK_S_OK);
    EXPECT_EQ(bench_.device().block_counters().kernel_requests.get(), 1U);
    (void)machine_.evict(GfnRange{FakeDmaMachine::high_first + 16, 1});
    ASSERT_EQ(bench_.run({VIRTIO_BLK_T_IN, 0, {device_writes(page(0), 32 * 4096)}}), VIRTIO_BLK_S_OK);
    EXPECT_EQ(bench_.device().block_counters().kernel_requests.get(), 1U + 3U) << "before, the page itself, behind";
    EXPECT_EQ(guest(page(0), 32 * 4096), part(0, 32 * 4096));
}

/// Requests to both disks by turns for a while, some of them for pages that are out; the longest that one took by
/// itself.
struct Served {
    std::chrono::nanoseconds worst{0};
    unsigned requests = 0;
};

class BlockBeside : public BlockAbsent {
protected:
    BlockBeside() : other_image_(disk_bytes), other_(machine_, other_image_.options(), low + 24 * page_bytes) {
        other_image_.write(0, content_);
        EXPECT_TRUE(other_.start());
    }
    void serve(std::chrono::milliseconds duration, unsigned still_out, Served& served) {
        constexpr unsigned least = 24;  // on a machine that is too busy for more
        for (const auto end = Clock::now() + duration; Clock::now() < end || served.requests < least;) {
            for (BlockBench* bench : {&bench_, &other_}) ASSERT_NO_FATAL_FAILURE(serve_one(*bench, still_out, served));
        }
    }

private:
    void serve_one(BlockBench& bench, unsigned still_out, Served& served) {
        const std::uint64_t at = 8 + served.requests % 50;
        if (served.requests % 8 == 0) (void)machine_.evict(GfnRange{frame_of(page(at)), 1});
        const OwnTime time;
        const unsigned mine = bench.begin({VIRTIO_BLK_T_IN, served.requests % 64, {device_writes(page(at), 4096)}});
        const auto answer = bench.wait();
        served.worst = std::max(served.worst, time.taken());
        ASSERT_TRUE(answer.has_value()) << "it waits for the page that does not come";
        ASSERT_EQ(answer->request, mine) << "the stuck request was answered";
        ASSERT_EQ(answer->status, VIRTIO_BLK_S_OK);
        // Answered while the page was still out, and nothing but that page is left behind.
        ASSERT_EQ(machine_.slow().waiting(), still_out);
        ASSERT_EQ(machine_.service().pending(), still_out);
        ++served.requests;
    }

protected:
    const DiskImage other_image_;
    BlockBench other_;  // a second disk of the same machine, on a loop of its own
};

TEST_F(BlockBeside, APageThatDoesNotComeHoldsUpItsRequestOnly) {
    Served without;
    ASSERT_NO_FATAL_FAILURE(serve(300ms, 0, without));
    bring_in(page(0));
    (void)machine_.evict(GfnRange{FakeDmaMachine::high_first + 2, 60});
    machine_.slow().hold(machine_.host(FakeDmaMachine::high_first + 2));
    const unsigned stuck = bench_.begin({VIRTIO_BLK_T_IN, 0, {device_writes(page(0), 4 * 4096)}});
    // Its other pages come.
    ASSERT_TRUE(becomes_true([&] { return machine_.slow().waiting() == 1 && machine_.service().pending() == 1; }));

    Served with;
    ASSERT_NO_FATAL_FAILURE(serve(1000ms, 1, with));
    // Every one of them, whatever else this machine has to do.
    const std::chrono::nanoseconds bound = std::max<std::chrono::nanoseconds>(50ms * slowness(), 2 * without.worst);
    EXPECT_LE(with.worst, bound) << with.requests << " requests";
    EXPECT_EQ(guest(page(0), 4096), part(0, 4096)) << "its other pages were read meanwhile";

    machine_.slow().let_go();
    const auto answer = bench_.wait();
    ASSERT_TRUE(answer.has_value());
    EXPECT_EQ(answer->request, stuck);
    EXPECT_EQ(answer->status, VIRTIO_BLK_S_OK);
    EXPECT_EQ(guest(page(0), 4 * 4096), part(0, 4 * 4096));
}

TEST_F(BlockAbsent, PagesThatDoNotComeLeaveRoomForThoseThatAreThere) {
    constexpr unsigned held = vmm::StraightTransfer::wishes_at_once;
    constexpr unsigned many = 8;
    static_assert(held * many > vmm::BlockEngine::tokens_of_each, "more wishes than the disk has tokens for");
    (void)machine_.evict(GfnRange{FakeDmaMachine::high_first, held});
    for (unsigned i = 0; i < held; ++i) machine_.slow().hold(machine_.host(FakeDmaMachine::high_first + i));
    for (unsigned i = 0; i < many; ++i) {
        (void)bench_.begin({VIRTIO_BLK_T_IN, 0, {device_writes(page(0), held * 4096)}});
    }
    bring_in(page(held));
    ASSERT_TRUE(becomes_true(
        [&] { return bench_.device().block_counters().wanted_pages.get() >= vmm::BlockEngine::tokens_of_each; }));
    const unsigned mine = bench_.begin({VIRTIO_BLK_T_IN, 9, {device_writes(page(held), 4096)}});
    const auto answer = bench_.wait();
    ASSERT_TRUE(answer.has_value());
    EXPECT_EQ(answer->request, mine);
    EXPECT_EQ(bench_.device().block_counters().wanted_pages.get(), vmm::BlockEngine::tokens_of_each);
    machine_.slow().let_go();
    for (unsigned i = 0; i < many; ++i) ASSERT_TRUE(bench_.wait().has_value());
    EXPECT_EQ(guest(page(0), held * 4096), part(0, held * 4096));
}

TEST_F(BlockAbsent, AResetWaitsForNoPage) {
    (void)machine_.evict(GfnRange{FakeDmaMachine::high_first, 4});
    machine_.slow().hold(machine_.host(FakeDmaMachine::high_first));
    (void)bench_.begin({VIRTIO_BLK_T_OUT, 0, {device_reads(page(0), 4096)}});
    ASSERT_TRUE(becomes_true([&] { return machine_.slow().waiting() == 1; }));
    const auto begun = Clock::now();
    ASSERT_TRUE(bench_.driver().registers().reset());
    EXPECT_LT(Clock::now() - begun, 1s);
    machine_.slow().let_go();
    ASSERT_TRUE(bench_.start());
    EXPECT_EQ(bench_.run({VIRTIO_BLK_T_IN, 0, {device_writes(page(1), 4096)}}), VIRTIO_BLK_S_OK);
    EXPECT_EQ(image_.contents(), content_) << "the request of before the reset was carried out all the same";
}

TEST_F(BlockAbsent, APausedDiskTouchesNothingAndLosesNothing) {
    (void)machine_.evict(GfnRange{FakeDmaMachine::high_first, 4});
    machine_.slow().hold(machine_.host(FakeDmaMachine::high_first));
    const unsigned first = bench_.begin({VIRTIO_BLK_T_IN, 0, {device_writes(page(0), 4096)}});
    ASSERT_TRUE(becomes_true([&] { return machine_.slow().waiting() == 1; }));
    bench_.pause();
    const std::uint64_t requests = bench_.device().block_counters().kernel_requests.get();
    machine_.slow().let_go();
    (void)bench_.begin({VIRTIO_BLK_T_IN, 8, {device_writes(page(2), 4096)}});
    ASSERT_TRUE(becomes_true([&] { return machine_.service().pending() == 0; }));
    std::this_thread::sleep_for(20ms);
    EXPECT_EQ(bench_.device().block_counters().kernel_requests.get(), requests);
    EXPECT_FALSE(bench_.look().has_value());
    EXPECT_FALSE(machine_.table().in_use(machine_.host(FakeDmaMachine::high_first)));

    bench_.resume();
    const auto one = bench_.wait();
    const auto two = bench_.wait();
    ASSERT_TRUE(one && two);
    EXPECT_TRUE(one->request == first || two->request == first);
    EXPECT_EQ(guest(page(0), 4096), part(0, 4096));
    EXPECT_EQ(guest(page(2), 4096), part(8 * 512, 4096));
}

}  // namespace
}  // namespace penumbra::test
