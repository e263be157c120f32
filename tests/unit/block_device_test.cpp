// The virtio disk's protocol (virtio 1.2, 5.2): what each request does, and what a driver that breaks the rules gets.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "tests/support/block_bench.hpp"
#include "tests/support/dma_loop.hpp"
#include "tests/support/fake_dma_machine.hpp"
#include "vmm/devices/virtio/block_ranges.hpp"
#include "vmm/devices/virtio/virtio_transport.hpp"

namespace penumbra::test {
namespace {

constexpr std::uint64_t disk_bytes = 1U << 20;
constexpr std::uint64_t disk_sectors = disk_bytes / 512;
constexpr std::uint64_t feature_flush = std::uint64_t{1} << VIRTIO_BLK_F_FLUSH;

using Bytes = std::vector<std::byte>;

Bytes zeroes(std::size_t bytes) { return Bytes(bytes); }

class BlockDevice : public testing::Test {
protected:
    explicit BlockDevice(vmm::DiskAccess access = vmm::DiskAccess::read_write)
        : image_(disk_bytes), bench_((image_.write(0, content_), machine_), image_.options(access), low) {
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
    std::uint8_t read(std::uint64_t sector, std::uint32_t bytes) {
        return bench_.run({VIRTIO_BLK_T_IN, sector, {device_writes(data, bytes)}});
    }
    std::uint8_t write(std::uint64_t sector, std::uint32_t bytes) {
        return bench_.run({VIRTIO_BLK_T_OUT, sector, {device_reads(data, bytes)}});
    }
    struct Range {
        std::uint64_t sector;
        std::uint32_t sectors;
        std::uint32_t flags;
    };
    std::uint8_t ranges(std::uint32_t type, const std::vector<Range>& list) {
        bench_.memory().write(data, std::as_bytes(std::span{list}));
        return bench_.run({type, 0, {device_reads(data, static_cast<std::uint32_t>(list.size() * sizeof(Range)))}});
    }
    template <class T>
    T config(unsigned offset) {
        return static_cast<T>(bench_.driver().registers().config(offset, sizeof(T)));
    }

    static constexpr Gpa low = address_of(FakeDmaMachine::low_first);
    static constexpr Gpa data = address_of(FakeDmaMachine::high_first);
    const Bytes content_ = pattern(1, disk_bytes);
    FakeDmaMachine machine_;
    DiskImage image_;
    BlockBench bench_;
};

struct ReadOnlyBlockDevice : BlockDevice {
    ReadOnlyBlockDevice() : BlockDevice(vmm::DiskAccess::read_only) {}
};

TEST_F(BlockDevice, TellsItsShape) {
    const std::uint64_t features = bench_.driver().features();
    for (const int bit : {VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_TOPOLOGY,
                          VIRTIO_BLK_F_WRITE_ZEROES}) {
        EXPECT_NE(features & (std::uint64_t{1} << bit), 0U) << bit;
    }
    EXPECT_EQ(features & (std::uint64_t{1} << VIRTIO_BLK_F_RO), 0U);
    EXPECT_EQ(config<std::uint64_t>(offsetof(virtio_blk_config, capacity)), disk_sectors);
    EXPECT_EQ(config<std::uint32_t>(offsetof(virtio_blk_config, blk_size)), 512U);
    EXPECT_EQ(config<std::uint32_t>(offsetof(virtio_blk_config, seg_max)), 254U);
    EXPECT_EQ(config<std::uint32_t>(offsetof(virtio_blk_config, max_write_zeroes_sectors)), vmm::most_zeroed_sectors);
}

TEST_F(BlockDevice, ReadsAndWritesWhereTheDriverSays) {
    ASSERT_EQ(read(3, 8192), VIRTIO_BLK_S_OK);
    EXPECT_EQ(guest(data, 8192), part(3 * 512, 8192));
    const Bytes fresh = pattern(2, 1024);
    bench_.memory().write(data + 100, fresh);
    ASSERT_EQ(bench_.run({VIRTIO_BLK_T_OUT, disk_sectors - 2, {device_reads(data + 100, 1024)}}), VIRTIO_BLK_S_OK);
    const Bytes now = image_.contents();
    EXPECT_TRUE(std::equal(fresh.begin(), fresh.end(), now.end() - 1024));
    EXPECT_TRUE(std::equal(now.begin(), now.end() - 1024, content_.begin())) << "and nothing else was written";
    EXPECT_EQ(bench_.device().block_counters().read_bytes.get(), 8192U);
    EXPECT_EQ(bench_.device().block_counters().written_bytes.get(), 1024U);
}

TEST_F(BlockDevice, TheDriverFramesItsRequestsAsItLikes) {
    // Header in three parts, the last with data behind it; data in odd lengths; the status behind data.
    virtio_blk_outhdr header{VIRTIO_BLK_T_OUT, 0, 8};
    const Bytes fresh = pattern(3, 1024);
    bench_.memory().put(low + 0xD000, header);
    bench_.memory().write(low + 0xD010, fresh);
    bench_.driver().submit(
        0, {device_reads(low + 0xD000, 3), device_reads(low + 0xD003, 9), device_reads(low + 0xD00C, 4 + 13),
            device_reads(low + 0xD01D, 1024 - 13), device_writes(data, 1)});
    ASSERT_TRUE(bench_.driver().wait(0).has_value());
    EXPECT_EQ(guest(data, 1), zeroes(1));
    const Bytes now = image_.contents();
    EXPECT_TRUE(std::equal(fresh.begin(), fresh.end(), now.begin() + 8 * 512));

    header = {VIRTIO_BLK_T_IN, 0, 8};
    bench_.memory().put(low + 0xD000, header);
    bench_.driver().submit(
        0, {device_reads(low + 0xD000, 16), device_writes(data + 4090, 600), device_writes(data + 9000, 425)});
    const auto done = bench_.driver().wait(0);
    ASSERT_TRUE(done.has_value());
    EXPECT_EQ(done->written, 1025U);
    Bytes got = guest(data + 4090, 600);
    const Bytes rest = guest(data + 9000, 425);
    got.insert(got.end(), rest.begin(), rest.end() - 1);
    EXPECT_EQ(got, fresh);
    EXPECT_EQ(rest.back(), std::byte{VIRTIO_BLK_S_OK});
}

TEST_F(BlockDevice, RefusesWhatLiesBehindTheEnd) {
    EXPECT_EQ(read(disk_sectors, 512), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(read(disk_sectors - 1, 1024), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(read(~std::uint64_t{0}, 512), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(read(~std::uint64_t{0} / 512 + 1, 512), VIRTIO_BLK_S_IOERR) << "the byte offset overflows";
    EXPECT_EQ(write(disk_sectors - 1, 1024), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(read(0, 511), VIRTIO_BLK_S_IOERR) << "not whole sectors";
    EXPECT_EQ(read(disk_sectors - 1, 512), VIRTIO_BLK_S_OK);
    EXPECT_EQ(image_.contents(), content_);
    EXPECT_EQ(bench_.device().block_counters().errors.get(), 6U);
    EXPECT_TRUE(bench_.complaints().empty()) << "the guest's faults are the guest's";
}

TEST_F(BlockDevice, DataOutsideOfRamIsAnIoError) {
    const Gpa hole = address_of(FakeDmaMachine::hole);
    EXPECT_EQ(bench_.run({VIRTIO_BLK_T_IN, 0, {device_writes(data, 512), device_writes(hole, 512)}}),
              VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(bench_.run({VIRTIO_BLK_T_OUT, 0, {device_reads(Gpa{~std::uint64_t{0} - 1023}, 512)}}),
              VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(image_.contents(), content_);
    EXPECT_EQ(read(0, 512), VIRTIO_BLK_S_OK) << "the device works on";
}

TEST_F(BlockDevice, AnswersWithItsSerialNumber) {
    bench_.memory().write(data, Bytes(32, std::byte{0x55}));
    ASSERT_EQ(bench_.run({VIRTIO_BLK_T_GET_ID, 0, {device_writes(data, 20)}}), VIRTIO_BLK_S_OK);
    const Bytes got = guest(data, 21);
    const std::array<char, 20> serial = bench_.device().file().serial();
    EXPECT_EQ(std::memcmp(got.data(), serial.data(), 20), 0);
    EXPECT_EQ(got[20], std::byte{0x55});
    EXPECT_EQ(std::string(serial.data(), 11), "penumbra-di") << "it begins with the file's name";
}

TEST_F(BlockDevice, WritesZeroesAndDiscards) {
    ASSERT_EQ(ranges(VIRTIO_BLK_T_WRITE_ZEROES, {{8, 8, 0}, {32, 3, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP}, {40, 0, 0}}),
              VIRTIO_BLK_S_OK);
    ASSERT_EQ(ranges(VIRTIO_BLK_T_DISCARD, {{64, 16, 0}}), VIRTIO_BLK_S_OK);
    Bytes expected = content_;
    for (const auto& [first, count] : {std::pair{8, 8}, std::pair{32, 3}, std::pair{64, 16}}) {
        std::fill_n(expected.begin() + first * 512, count * 512, std::byte{0});
    }
    EXPECT_EQ(image_.contents(), expected);
    EXPECT_EQ(bench_.device().block_counters().discards.get(), 1U);
}

TEST_F(BlockDevice, RefusesRangesThatBreakTheRulesWhole) {
    const std::uint32_t huge = vmm::most_zeroed_sectors + 1;
    EXPECT_EQ(ranges(VIRTIO_BLK_T_WRITE_ZEROES, {{0, 8, 0}, {disk_sectors - 1, 2, 0}}), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(ranges(VIRTIO_BLK_T_WRITE_ZEROES, {{0, 8, 0}, {~std::uint64_t{0}, 2, 0}}), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(ranges(VIRTIO_BLK_T_WRITE_ZEROES, {{0, huge, 0}}), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(ranges(VIRTIO_BLK_T_WRITE_ZEROES, {{0, 8, 0}, {0, 8, 2}}), VIRTIO_BLK_S_UNSUPP);
    EXPECT_EQ(ranges(VIRTIO_BLK_T_DISCARD, {{0, 8, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP}}), VIRTIO_BLK_S_UNSUPP);
    EXPECT_EQ(bench_.run({VIRTIO_BLK_T_DISCARD, 0, {}}), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(ranges(VIRTIO_BLK_T_DISCARD, std::vector<Range>(vmm::most_ranges + 1, {0, 8, 0})), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(bench_.run({VIRTIO_BLK_T_DISCARD, 0, {device_reads(data, 15)}}), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(image_.contents(), content_);
}

TEST_F(BlockDevice, FlushesAndRefusesWhatItDoesNotKnow) {
    EXPECT_EQ(bench_.run({VIRTIO_BLK_T_FLUSH, 0, {}}), VIRTIO_BLK_S_OK);
    EXPECT_EQ(bench_.run({VIRTIO_BLK_T_SECURE_ERASE, 0, {device_reads(data, 16)}}), VIRTIO_BLK_S_UNSUPP);
    EXPECT_EQ(bench_.run({0xFFFF'FFFF, 0, {}}), VIRTIO_BLK_S_UNSUPP);
    EXPECT_EQ(bench_.device().block_counters().flushes.get(), 1U);
    EXPECT_EQ(bench_.device().block_counters().refused.get(), 2U);
}

TEST_F(BlockDevice, WithoutFlushEveryWriteIsDurable) {
    const BlockBench::Answer none{};
    ASSERT_EQ(none.status, BlockBench::no_status);
    ASSERT_EQ(write(0, 512), VIRTIO_BLK_S_OK);
    const std::uint64_t before = bench_.device().block_counters().kernel_requests.get();
    EXPECT_EQ(before, 1U);
    ASSERT_TRUE(bench_.driver().registers().reset());
    ASSERT_TRUE(bench_.start(VirtioDriver::all_features & ~feature_flush));
    ASSERT_EQ(write(0, 512), VIRTIO_BLK_S_OK);
    EXPECT_EQ(bench_.device().block_counters().kernel_requests.get(), before + 2) << "the write and its fdatasync";
}

TEST_F(BlockDevice, AChainThatIsNoRequestNeedsAReset) {
    bench_.driver().submit(0, {device_reads(data, 15), device_writes(data + 64, 1)});
    ASSERT_TRUE(
        becomes_true([&] { return (bench_.driver().registers().status() & vmm::virtio_status::needs_reset) != 0; }));
    EXPECT_EQ(bench_.complaints().size(), 1U);
    ASSERT_TRUE(bench_.driver().registers().reset());
    ASSERT_TRUE(bench_.start());
    bench_.memory().put(data, virtio_blk_outhdr{VIRTIO_BLK_T_IN, 0, 0});
    bench_.driver().submit(0, {device_reads(data, 16), device_writes(address_of(FakeDmaMachine::hole), 513)});
    ASSERT_TRUE(
        becomes_true([&] { return (bench_.driver().registers().status() & vmm::virtio_status::needs_reset) != 0; }));
    ASSERT_TRUE(bench_.driver().registers().reset());
    ASSERT_TRUE(bench_.start());
    EXPECT_EQ(read(0, 512), VIRTIO_BLK_S_OK);
}

TEST_F(BlockDevice, AFileThatIsShortenedGivesIoErrors) {
    image_.resize(4096 + 512);
    EXPECT_EQ(read(0, 4096), VIRTIO_BLK_S_OK);
    EXPECT_EQ(read(8, 4096), VIRTIO_BLK_S_IOERR) << "the first sector is there, the rest is not";
    EXPECT_EQ(read(64, 512), VIRTIO_BLK_S_IOERR);
    const std::vector<std::string> lines = bench_.complaints();
    ASSERT_EQ(lines.size(), 1U) << "one line, whatever the number of errors";
    EXPECT_NE(lines[0].find(image_.path()), std::string::npos);
    EXPECT_NE(lines[0].find("shortened"), std::string::npos) << lines[0];
}

TEST_F(ReadOnlyBlockDevice, TakesNothingThatWrites) {
    EXPECT_NE(bench_.driver().features() & (std::uint64_t{1} << VIRTIO_BLK_F_RO), 0U);
    EXPECT_EQ(write(0, 512), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(ranges(VIRTIO_BLK_T_WRITE_ZEROES, {{0, 8, 0}}), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(ranges(VIRTIO_BLK_T_DISCARD, {{0, 8, 0}}), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(bench_.run({VIRTIO_BLK_T_FLUSH, 0, {}}), VIRTIO_BLK_S_OK);
    EXPECT_EQ(read(0, 512), VIRTIO_BLK_S_OK);
    EXPECT_EQ(guest(data, 512), part(0, 512));
    EXPECT_EQ(image_.contents(), content_);
}

}  // namespace
}  // namespace penumbra::test
