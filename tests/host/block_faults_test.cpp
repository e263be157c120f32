// A disk whose host storage is full, cannot punch holes, or has larger blocks than the guest's requests.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.hpp"
#include "tests/support/block_bench.hpp"
#include "tests/support/fake_dma_machine.hpp"
#include "tests/support/loop_device.hpp"

namespace penumbra::test {
namespace {

using vmm::DiskAccess;
using vmm::DiskCaching;
using Bytes = std::vector<std::byte>;

constexpr std::uint64_t disk_bytes = 1U << 20;
constexpr Gpa low = address_of(FakeDmaMachine::low_first);
constexpr Gpa data = address_of(FakeDmaMachine::high_first);

/// A sparse file on a file system of its own, which nobody else sees and which goes with the file; invalid where this
/// user may not mount.
UniqueFd file_on(const char* type, const char* mount_options) {
    UniqueFd file;
    std::thread([&] {
        const std::filesystem::path folder = std::filesystem::temp_directory_path();
        if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return;
        if (::mount("none", folder.c_str(), type, 0, mount_options) != 0) return;
        file.reset(::open((folder / "disk").c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
        if (file && ::ftruncate(file.get(), disk_bytes) != 0) file.reset();
    }).join();
    return file;
}

vmm::DiskOptions path_of(const UniqueFd& file) {
    return {"/proc/self/fd/" + std::to_string(file.get()), DiskAccess::read_write, DiskCaching::buffered};
}

Bytes contents(const UniqueFd& file, std::uint64_t offset, std::size_t bytes) {
    Bytes got(bytes);
    EXPECT_EQ(::pread(file.get(), got.data(), bytes, static_cast<off_t>(offset)), static_cast<ssize_t>(bytes));
    return got;
}

std::uint8_t write(BlockBench& bench, std::uint64_t sector, const Bytes& bytes) {
    bench.memory().write(data, bytes);
    return bench.run({VIRTIO_BLK_T_OUT, sector, {device_reads(data, static_cast<std::uint32_t>(bytes.size()))}});
}

std::uint8_t clear(BlockBench& bench, std::uint32_t type, std::uint64_t sector, std::uint32_t sectors,
                   std::uint32_t flags) {
    bench.memory().put(data, virtio_blk_discard_write_zeroes{sector, sectors, flags});
    return bench.run({type, 0, {device_reads(data, 16)}});
}

TEST(BlockFaults, AFullFileSystemIsAnIoErrorAndOneLine) {
    const UniqueFd file = file_on("tmpfs", "size=64k");
    if (!file) GTEST_SKIP() << "this user may not mount a file system";
    FakeDmaMachine machine;
    BlockBench bench(machine, path_of(file), low);
    ASSERT_TRUE(bench.start());
    const Bytes fresh = pattern(1, 32U << 10);
    ASSERT_EQ(write(bench, 0, fresh), VIRTIO_BLK_S_OK);
    EXPECT_EQ(write(bench, 64, pattern(2, 64U << 10)), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(write(bench, 1024, fresh), VIRTIO_BLK_S_IOERR);
    const std::vector<std::string> lines = bench.complaints();
    ASSERT_EQ(lines.size(), 1U);
    EXPECT_NE(lines[0].find("No space left"), std::string::npos) << lines[0];
    EXPECT_NE(lines[0].find("free space"), std::string::npos) << lines[0];
    EXPECT_EQ(contents(file, 0, fresh.size()), fresh) << "what was written stays";

    ASSERT_EQ(clear(bench, VIRTIO_BLK_T_DISCARD, 64, 256, 0), VIRTIO_BLK_S_OK);
    EXPECT_EQ(write(bench, 1024, Bytes(4096, std::byte{7})), VIRTIO_BLK_S_OK) << "a discard makes room";
}

TEST(BlockFaults, WhereTheFileSystemHasNoHolesZeroesAreWritten) {
    const UniqueFd file = file_on("ramfs", "");
    if (!file) GTEST_SKIP() << "this user may not mount a file system";
    FakeDmaMachine machine;
    BlockBench bench(machine, path_of(file), low);
    ASSERT_TRUE(bench.start());
    EXPECT_EQ(bench.driver().features() & (std::uint64_t{1} << VIRTIO_BLK_F_DISCARD), 0U) << "it would do nothing";
    const Bytes fresh = pattern(1, 128U << 10);
    ASSERT_EQ(write(bench, 0, fresh), VIRTIO_BLK_S_OK);
    ASSERT_EQ(clear(bench, VIRTIO_BLK_T_WRITE_ZEROES, 3, 200, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP), VIRTIO_BLK_S_OK);
    Bytes expected = fresh;
    std::fill_n(expected.begin() + 3 * 512, 200 * 512, std::byte{0});
    EXPECT_EQ(contents(file, 0, fresh.size()), expected);
    // All of it: more than one kernel request's worth.
    ASSERT_EQ(clear(bench, VIRTIO_BLK_T_WRITE_ZEROES, 0, disk_bytes / 512, 0), VIRTIO_BLK_S_OK);
    EXPECT_EQ(contents(file, 0, disk_bytes), Bytes(disk_bytes));
    EXPECT_EQ(clear(bench, VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_OK) << "asked for all the same: no harm";
    EXPECT_TRUE(bench.complaints().empty());
}

TEST(BlockFaults, ADeviceWithLargeBlocksTakesWholeBlocksOnly) {
    const DiskImage image(disk_bytes);
    image.write(0, pattern(3, disk_bytes));
    const LoopDevice loop(image, 4096);
    if (loop.path().empty()) GTEST_SKIP() << "this user may not make a loop device";
    FakeDmaMachine machine;
    BlockBench bench(machine, {loop.path(), DiskAccess::read_write, DiskCaching::direct}, low);
    ASSERT_TRUE(bench.start());
    VirtioRegisters& registers = bench.driver().registers();
    EXPECT_EQ(registers.config(offsetof(virtio_blk_config, blk_size), 4), 4096U);
    EXPECT_EQ(bench.run({VIRTIO_BLK_T_IN, 1, {device_writes(data, 4096)}}), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(bench.run({VIRTIO_BLK_T_IN, 8, {device_writes(data, 512)}}), VIRTIO_BLK_S_IOERR);
    // Two blocks in memory that is not aligned to them: through the buffer.
    ASSERT_EQ(bench.run({VIRTIO_BLK_T_IN, 8, {device_writes(data + 512, 8192)}}), VIRTIO_BLK_S_OK);
    Bytes got(8192);
    bench.memory().read(data + 512, got);
    const Bytes whole = pattern(3, disk_bytes);
    EXPECT_TRUE(std::equal(got.begin(), got.end(), whole.begin() + 4096));
    EXPECT_EQ(bench.device().block_counters().bounced.get(), 1U);
    const Bytes fresh = pattern(4, 4096);
    ASSERT_EQ(write(bench, 16, fresh), VIRTIO_BLK_S_OK);
    ASSERT_EQ(clear(bench, VIRTIO_BLK_T_WRITE_ZEROES, 32, 8, 0), VIRTIO_BLK_S_OK);
    ASSERT_EQ(bench.run({VIRTIO_BLK_T_FLUSH, 0, {}}), VIRTIO_BLK_S_OK);
    const Bytes now = image.contents();
    EXPECT_TRUE(std::equal(fresh.begin(), fresh.end(), now.begin() + 16 * 512));
    EXPECT_TRUE(
        std::all_of(now.begin() + 32 * 512, now.begin() + 40 * 512, [](std::byte b) { return b == std::byte{}; }));
}

}  // namespace
}  // namespace penumbra::test
