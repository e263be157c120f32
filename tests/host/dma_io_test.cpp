// The kernel's own I/O into held guest pages: real O_DIRECT reads by io_uring from a real file, while the same pages
// are taken out as fast as they come. What was read must be in the guest's memory afterwards. Then the waiting for
// holds is left out, and the same machine must lose data and say where.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <liburing.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.hpp"
#include "base/planted.hpp"
#include "base/unique_fd.hpp"
#include "tests/support/dma_loop.hpp"
#include "tests/support/dma_machine.hpp"
#include "tests/support/fake_window.hpp"

namespace penumbra::test {
namespace {

using namespace std::chrono_literals;
using mmu::FaultAccess;
using vmm::DmaClient;
using vmm::DmaGrant;
using vmm::DmaHold;
using vmm::StalePolicy;
using vmm::TakeOutMode;

constexpr std::uint64_t file_pages = 1024;
constexpr GfnRange memory{Gfn{0x300}, 128};

std::uint64_t word_of(std::uint64_t file_page) { return 0x9E37'79B9'7F4A'7C15ULL * (file_page + 1); }

/// An unnamed file whose pages repeat word_of(), opened for O_DIRECT; invalid where no folder has a disk below it.
UniqueFd make_file() {
    for (const std::string& folder : {testing::TempDir(), std::string("."), std::string("/var/tmp")}) {
        struct statfs facts{};
        if (::statfs(folder.c_str(), &facts) != 0 || facts.f_type == TMPFS_MAGIC) continue;
        UniqueFd fd(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600));
        if (!fd) continue;
        const MappedRegion page = make_region(1);
        bool written = true;
        for (std::uint64_t i = 0; i < file_pages && written; ++i) {
            const std::uint64_t word = word_of(i);
            for (std::size_t at = 0; at < page_bytes; at += sizeof(word)) std::memcpy(page.data() + at, &word, 8);
            written = ::pwrite(fd.get(), page.data(), page_bytes, static_cast<off_t>(i * page_bytes)) ==
                      static_cast<ssize_t>(page_bytes);
        }
        if (written) return fd;
    }
    return {};
}

/// A disk of sorts: reads file pages into guest pages, each held from before the request to after its completion.
class Disk {
public:
    Disk(DmaMachine& machine, int file) : file_(file), device_(machine.service()) {
        PENUMBRA_ASSERT(::io_uring_queue_init(depth, &ring_, 0) == 0, "a ring");
    }
    ~Disk() { ::io_uring_queue_exit(&ring_); }
    Disk(const Disk&) = delete;
    Disk& operator=(const Disk&) = delete;

    /// Fills the guest's pages: page i from file page (i + shift). Returns when all have arrived.
    void fill(std::uint64_t shift) {
        for (std::uint64_t begun = 0; begun < memory.pages(); begun += depth) {
            device_.call([&](DmaClient& client) {
                for (std::uint64_t i = begun; i < begun + depth; ++i) begin(client, i, (i + shift) % file_pages);
            });
            for (unsigned i = 0; i < depth; ++i) finish();
        }
    }

private:
    static constexpr unsigned depth = 32;
    static_assert(memory.pages() % depth == 0);

    void begin(DmaClient& client, std::uint64_t page, std::uint64_t file_page) {
        client.want(memory.first() + page, FaultAccess::write, [this, page, file_page](DmaGrant grant) {
            ASSERT_EQ(grant, DmaGrant::present);
            auto hold = device_.client().hold(address_of(memory.first() + page), page_bytes);
            ASSERT_TRUE(hold);
            io_uring_sqe* entry = ::io_uring_get_sqe(&ring_);
            ::io_uring_prep_read(entry, file_, hold->bytes().data(), page_bytes, file_page * page_bytes);
            ::io_uring_sqe_set_data64(entry, page);
            const MutexLock lock(mutex_);
            holds_[page] = std::move(*hold);
            ASSERT_EQ(::io_uring_submit(&ring_), 1);
        });
    }
    void finish() {
        io_uring_cqe* done = nullptr;
        ASSERT_EQ(::io_uring_wait_cqe(&ring_, &done), 0);
        EXPECT_EQ(done->res, static_cast<int>(page_bytes));
        const std::uint64_t page = ::io_uring_cqe_get_data64(done);
        ::io_uring_cqe_seen(&ring_, done);
        const MutexLock lock(mutex_);
        holds_[page] = DmaHold{};
    }

    const int file_;
    io_uring ring_{};
    Mutex mutex_{LockRank::leaf};
    std::array<DmaHold, memory.pages()> holds_ GUARDED_BY(mutex_);  // of pages whose read is in flight
    DmaLoop device_;
};

/// The first guest page that does not hold what was read into it.
std::optional<Gpa> lost_page(DmaMachine& machine, std::uint64_t shift) {
    std::array<std::uint64_t, page_bytes / sizeof(std::uint64_t)> words{};
    for (std::uint64_t i = 0; i < memory.pages(); ++i) {
        const Gpa at = address_of(memory.first() + i);
        machine.read(at, std::as_writable_bytes(std::span{words}));
        for (const std::uint64_t word : words) {
            if (word != word_of((i + shift) % file_pages)) return at;
        }
    }
    return std::nullopt;
}

/// Reads over and over under eviction until a page is lost, at most `rounds` times.
std::optional<Gpa> read_until_lost(DmaMachine& machine, int file, unsigned rounds) {
    Disk disk(machine, file);
    for (unsigned round = 1; round <= rounds; ++round) {
        machine.start_evictor(memory, round);
        disk.fill(round);
        machine.stop_evictor();
        if (const std::optional<Gpa> lost = lost_page(machine, round)) return lost;
    }
    return std::nullopt;
}

class DmaIo : public testing::TestWithParam<TakeOutMode> {
protected:
    void SetUp() override {
        file_ = make_file();
        if (!file_) GTEST_SKIP() << "no folder here has a file system that reads with O_DIRECT";
    }
    [[nodiscard]] static DmaMachineOptions options(StalePolicy stale) {
        DmaMachineOptions made;
        made.take_out = GetParam();
        made.stale = stale;
        return made;
    }
    UniqueFd file_;
};

TEST_P(DmaIo, WhatTheDiskReadsIsThere) {
    DmaMachine machine(options(StalePolicy::fatal));
    const std::optional<Gpa> lost = read_until_lost(machine, file_.get(), 12);
    EXPECT_FALSE(lost) << "guest page at 0x" << std::hex << lost->value() << " lost what the disk read into it";
    EXPECT_GT(machine.service().stats().io_waits, 0U) << "no eviction met an I/O";
    EXPECT_EQ(machine.errors(), 0U);
    EXPECT_EQ(machine.memory().pages_under_long_io(), 0U);
}

#if defined(PENUMBRA_TEST_SWITCHES)

TEST_P(DmaIo, AnIoThatIsNotWaitedForIsNoticed) {
    const Planted planted(Plant::skip_io_drain);
    DmaMachine machine(options(StalePolicy::count));  // the kernel may also find the page gone at once, and fault
    const std::optional<Gpa> lost = read_until_lost(machine, file_.get(), 200);
    ASSERT_TRUE(lost) << "pages left under the disk's reads and nobody noticed";
    EXPECT_TRUE(memory.contains(frame_of(*lost)));
    RecordProperty("lost_page", std::to_string(lost->value()));
}

#endif

INSTANTIATE_TEST_SUITE_P(Modes, DmaIo, testing::Values(TakeOutMode::move, TakeOutMode::copy));

}  // namespace
}  // namespace penumbra::test
