// A disk under a guest whose pages leave as fast as they come: random requests against a model, through the real
// window, with the kernel reading and writing guest pages where they are. Stale faults are fatal. Then the waiting for
// the kernel's I/O is left out, and the same workload must find what was lost.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>

#include "base/planted.hpp"
#include "tests/support/block_workload.hpp"
#include "tests/support/dma_loop.hpp"
#include "tests/support/dma_machine.hpp"

namespace penumbra::test {
namespace {

using vmm::DiskAccess;
using vmm::DiskCaching;
using vmm::TakeOutMode;

constexpr std::uint64_t disk_bytes = 4U << 20;
constexpr GfnRange rings{Gfn{0x200}, BlockBench::pages};
constexpr GfnRange data{Gfn{0x210}, 256};
constexpr GfnRange everything{rings.first(), rings.pages() + data.pages()};

struct How {
    TakeOutMode take_out;
    DiskCaching caching;
    WorkloadPlace::Alignment alignment;
};

std::string name_of(const testing::TestParamInfo<How>& how) {
    return std::string(how.param.take_out == TakeOutMode::move ? "move" : "copy") +
           (how.param.caching == DiskCaching::direct ? "_direct" : "_buffered") +
           (how.param.alignment == WorkloadPlace::Alignment::any ? "_misaligned" : "_aligned");
}

class BlockEviction : public testing::TestWithParam<How> {
protected:
    void SetUp() override {
        const auto folder = direct_folder();
        if (!folder && GetParam().caching == DiskCaching::direct) {
            GTEST_SKIP() << "no folder here has a file system that does direct I/O";
        }
        image_.emplace(disk_bytes, folder.value_or(std::filesystem::path{}));
    }
    [[nodiscard]] static DmaMachineOptions options(vmm::StalePolicy stale) {
        DmaMachineOptions made;
        made.take_out = GetParam().take_out;
        made.stale = stale;
        return made;
    }
    [[nodiscard]] vmm::DiskOptions disk() const { return image_->options(DiskAccess::read_write, GetParam().caching); }
    [[nodiscard]] static WorkloadPlace place() {
        return {address_of(data.first()), data.bytes(), GetParam().alignment};
    }

    void expect_disk(const std::vector<std::byte>& expected) const {
        const std::vector<std::byte> now = image_->contents();
        const auto [at, wanted] = std::ranges::mismatch(now, expected);
        if (at == now.end()) return;
        const auto same_again = std::ranges::mismatch(std::span(at, now.end()), std::span(wanted, expected.end()),
                                                      [](std::byte a, std::byte b) { return a != b; });
        ADD_FAILURE() << "the disk differs from byte 0x" << std::hex << at - now.begin() << " on, at least 0x"
                      << same_again.in1 - std::span(at, now.end()).begin() << " bytes: 0x" << static_cast<int>(*at)
                      << " instead of 0x" << static_cast<int>(*wanted);
    }

    std::optional<DiskImage> image_;
};

TEST_P(BlockEviction, NothingIsLostWhilePagesLeave) {
    DmaMachine machine(options(vmm::StalePolicy::fatal));
    BlockBench bench(machine, disk(), address_of(rings.first()));
    ASSERT_TRUE(bench.start());
    BlockWorkload workload(bench, image_->contents(), place(), 7);
    machine.start_evictor(everything, 7);
    workload.run(40);
    machine.stop_evictor();
    ASSERT_EQ(bench.run({VIRTIO_BLK_T_FLUSH, 0, {}}), VIRTIO_BLK_S_OK);
    expect_disk(workload.disk());
    const vmm::BlockCounters& counters = bench.device().block_counters();
    EXPECT_GT(counters.wanted_pages.get(), 0U) << "no request met an absent page";
    const bool misaligned = GetParam().alignment == WorkloadPlace::Alignment::any;
    const bool bounces = misaligned && GetParam().caching == DiskCaching::direct;
    EXPECT_EQ(counters.bounced.get() > 0, bounces);
    EXPECT_EQ(machine.errors(), 0U);
    EXPECT_EQ(machine.memory().pages_under_long_io(), 0U);
    EXPECT_TRUE(bench.complaints().empty());
}

TEST_P(BlockEviction, NothingIsLostWhileItIsPausedAgainAndAgain) {
    DmaMachine machine(options(vmm::StalePolicy::fatal));
    BlockBench bench(machine, disk(), address_of(rings.first()));
    ASSERT_TRUE(bench.start());
    BlockWorkload workload(bench, image_->contents(), place(), 8);
    machine.start_evictor(everything, 8);
    std::atomic<bool> over{false};
    std::atomic<unsigned> pauses{0};
    Thread pauser("pauser", ThreadRole::vmm, [&] {
        for (; !over.load(); ++pauses) {
            bench.pause();
            bench.resume();
            std::this_thread::sleep_for(std::chrono::milliseconds{1});
        }
    });
    EXPECT_TRUE(becomes_true([&] { return pauses.load() > 0; }));
    workload.run(10);
    over.store(true);
    pauser.join();
    machine.stop_evictor();
    expect_disk(workload.disk());
}

INSTANTIATE_TEST_SUITE_P(Modes, BlockEviction,
                         testing::Values(How{TakeOutMode::move, DiskCaching::buffered, WorkloadPlace::Alignment::any},
                                         How{TakeOutMode::move, DiskCaching::direct, WorkloadPlace::Alignment::sectors},
                                         How{TakeOutMode::copy, DiskCaching::buffered,
                                             WorkloadPlace::Alignment::sectors},
                                         How{TakeOutMode::copy, DiskCaching::direct, WorkloadPlace::Alignment::sectors},
                                         How{TakeOutMode::copy, DiskCaching::direct, WorkloadPlace::Alignment::any}),
                         name_of);

#if defined(PENUMBRA_TEST_SWITCHES)

/// Reads the whole disk into the same pages again and again; the first page that does not hold what was read.
std::optional<Gfn> read_until_lost(DmaMachine& machine, BlockBench& bench, const std::vector<std::byte>& disk,
                                   unsigned rounds) {
    constexpr std::uint32_t bytes = 64U << 10;
    constexpr std::uint64_t requests = data.bytes() / bytes;
    for (unsigned round = 0; round < rounds; ++round) {
        const std::uint64_t shift = round % 3 * data.bytes();
        machine.start_evictor(data, round);
        for (std::uint64_t i = 0; i < requests; ++i) {
            const Gpa at = address_of(data.first()) + i * bytes;
            (void)bench.begin({VIRTIO_BLK_T_IN, (shift + i * bytes) / 512, {device_writes(at, bytes)}});
        }
        for (std::uint64_t i = 0; i < requests; ++i) (void)bench.wait();
        machine.stop_evictor();
        for (Gfn gfn = data.first(); gfn < data.end(); ++gfn) {
            std::vector<std::byte> got(page_bytes);
            machine.read(address_of(gfn), got);
            const auto from = disk.begin() + static_cast<std::ptrdiff_t>(shift + (gfn - data.first()) * page_bytes);
            if (!std::equal(got.begin(), got.end(), from)) return gfn;
        }
    }
    return std::nullopt;
}

class BlockPlanted : public BlockEviction {};

TEST_P(BlockPlanted, AnIoThatIsNotWaitedForIsNoticed) {
    const std::vector<std::byte> content = pattern(5, disk_bytes);
    image_->write(0, content);
    const Planted planted(Plant::skip_io_drain);
    DmaMachine machine(options(vmm::StalePolicy::count));  // the kernel may also find the page gone at once, and fault
    BlockBench bench(machine, disk(), address_of(rings.first()));
    ASSERT_TRUE(bench.start());
    const std::optional<Gfn> lost = read_until_lost(machine, bench, content, 200);
    ASSERT_TRUE(lost) << "pages left under the disk's reads and nobody noticed";
    EXPECT_TRUE(data.contains(*lost));
    RecordProperty("lost_page", std::to_string(lost->value()));
}

TEST_P(BlockPlanted, AndWithoutThePlantNothingIsLost) {
    const std::vector<std::byte> content = pattern(5, disk_bytes);
    image_->write(0, content);
    DmaMachine machine(options(vmm::StalePolicy::fatal));
    BlockBench bench(machine, disk(), address_of(rings.first()));
    ASSERT_TRUE(bench.start());
    const std::optional<Gfn> lost = read_until_lost(machine, bench, content, 10);
    EXPECT_FALSE(lost) << "guest page 0x" << std::hex << lost->value() << " lost what the disk read into it";
}

INSTANTIATE_TEST_SUITE_P(Modes, BlockPlanted,
                         testing::Values(How{TakeOutMode::copy, DiskCaching::direct,
                                             WorkloadPlace::Alignment::sectors}),
                         name_of);

#endif

}  // namespace
}  // namespace penumbra::test
