// Opening disks: what is refused and in which words, who may share one, and what is read off it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/unique_fd.hpp"
#include "tests/support/disk_image.hpp"
#include "tests/support/loop_device.hpp"
#include "vmm/devices/block/disk_file.hpp"

namespace penumbra::test {
namespace {

using vmm::DiskAccess;
using vmm::DiskCaching;
using vmm::DiskFile;
using vmm::DiskOptions;

constexpr std::uint64_t disk_bytes = 1U << 20;

/// The message of a refusal, which has to name the path.
std::string refusal(const DiskOptions& options) {
    const Result<DiskFile> opened = DiskFile::open(options);
    if (opened) return "it was opened";
    EXPECT_NE(opened.error().message().find(options.path), std::string::npos) << opened.error().message();
    EXPECT_FALSE(opened.error().cure.empty()) << opened.error().message();
    return opened.error().message();
}

testing::AssertionResult says(const std::string& message, std::string_view part) {
    if (message.find(part) != std::string::npos) return testing::AssertionSuccess();
    return testing::AssertionFailure() << '"' << message << "\" does not say \"" << part << '"';
}

TEST(BlockFile, RefusesWhatIsNoDisk) {
    EXPECT_TRUE(says(refusal({"/nowhere/disk"}), "No such file"));
    EXPECT_TRUE(says(refusal({std::filesystem::temp_directory_path()}), "Is a directory"));
    EXPECT_TRUE(says(refusal({"/dev/null"}), "neither a file nor a block device"));
    const DiskImage empty(0);
    EXPECT_TRUE(says(refusal(empty.options()), "it is empty; give it a size"));
    const DiskImage odd(disk_bytes + 1);
    EXPECT_TRUE(says(refusal(odd.options()), "1048577 bytes, is not a multiple of 512"));
}

TEST(BlockFile, APipeIsRefusedWithoutWaitingForItsOtherEnd) {
    const DiskImage place(0);
    const std::string path = place.path() + ".pipe";
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    EXPECT_TRUE(says(refusal({path}), "neither a file nor a block device"));
    ::unlink(path.c_str());
}

TEST(BlockFile, AFileThatMayOnlyBeReadIsRefusedForWriting) {
    const DiskImage image(disk_bytes);
    ASSERT_EQ(::chmod(image.path().c_str(), 0444), 0);
    // Root may write all the same; the file system's view of this thread is somebody else's.
    const bool root = ::geteuid() == 0;
    if (root) ::setfsuid(65534);
    const std::string message = refusal(image.options(DiskAccess::read_write));
    const Result<DiskFile> reader = DiskFile::open(image.options(DiskAccess::read_only));
    if (root) ::setfsuid(0);
    EXPECT_TRUE(says(message, "Permission denied"));
    EXPECT_TRUE(says(message, ",readonly"));
    EXPECT_TRUE(reader.has_value()) << reader.error().message();
}

TEST(BlockFile, ReadersShareAndAWriterIsAlone) {
    const DiskImage image(disk_bytes);
    const DiskOptions reading = image.options(DiskAccess::read_only);
    const DiskOptions writing = image.options(DiskAccess::read_write);
    {
        const Result<DiskFile> one = DiskFile::open(reading);
        const Result<DiskFile> two = DiskFile::open(reading);
        ASSERT_TRUE(one && two);
        EXPECT_TRUE(says(refusal(writing), "locked"));
    }
    const Result<DiskFile> writer = DiskFile::open(writing);
    ASSERT_TRUE(writer.has_value()) << writer.error().message();
    EXPECT_TRUE(says(refusal(writing), "another process"));
    EXPECT_TRUE(says(refusal(reading), "locked"));
}

TEST(BlockFile, AnotherProcessKeepsItLocked) {
    const DiskImage image(disk_bytes);
    std::array<int, 2> ready{};
    std::array<int, 2> over{};
    ASSERT_EQ(::pipe(ready.data()), 0);
    ASSERT_EQ(::pipe(over.data()), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        ::close(over[1]);
        const Result<DiskFile> mine = DiskFile::open(image.options());
        char byte = mine ? 'y' : 'n';
        if (::write(ready[1], &byte, 1) != 1) ::_exit(1);
        (void)!::read(over[0], &byte, 1);  // until the parent closes its end
        ::_exit(0);
    }
    ::close(over[0]);
    char answer = 0;
    ASSERT_EQ(::read(ready[0], &answer, 1), 1);
    EXPECT_EQ(answer, 'y');
    EXPECT_TRUE(says(refusal(image.options()), "another process"));
    ::close(over[1]);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(DiskFile::open(image.options()).has_value()) << "the lock ends with its process";
    ::close(ready[0]);
    ::close(ready[1]);
}

TEST(BlockFile, KnowsItsFile) {
    const DiskImage image(disk_bytes + 512);
    const Result<DiskFile> file = DiskFile::open(image.options());
    ASSERT_TRUE(file.has_value()) << file.error().message();
    EXPECT_EQ(file->limits().bytes, disk_bytes + 512);
    EXPECT_EQ(file->limits().block, 512U);
    EXPECT_EQ(file->limits().physical_block % 512, 0U);
    EXPECT_EQ(file->kind(), vmm::DiskKind::file);
}

TEST(BlockFile, SerialNumbersTellLongNamesApart) {
    const DiskImage image(disk_bytes);
    const std::string one = image.path() + "-with-a-long-name-1";
    const std::string two = image.path() + "-with-a-long-name-2";
    std::filesystem::create_hard_link(image.path(), one);
    std::filesystem::create_hard_link(image.path(), two);
    const auto first = DiskFile::open({one, DiskAccess::read_only, DiskCaching::buffered});
    const auto second = DiskFile::open({two, DiskAccess::read_only, DiskCaching::buffered});
    std::filesystem::remove(one);
    std::filesystem::remove(two);
    ASSERT_TRUE(first && second);
    EXPECT_NE(first->serial(), second->serial());
    EXPECT_EQ(std::string_view(first->serial().data(), 11), "penumbra-di");
}

TEST(BlockFile, DirectOnlyWhereItsBlocksAreSectors) {
    const auto folder = direct_folder();
    if (!folder) GTEST_SKIP() << "no folder here has a file system that does direct I/O";
    const DiskImage image(disk_bytes, *folder);
    const Result<DiskFile> file = DiskFile::open(image.options(DiskAccess::read_write, DiskCaching::direct));
    if (!file) {
        EXPECT_TRUE(says(file.error().message(), "leave out ,direct"));
        return;
    }
    EXPECT_EQ(file->limits().block, 512U);
}

TEST(BlockFile, KnowsItsBlockDevice) {
    const DiskImage image(disk_bytes);
    const LoopDevice loop(image, 4096);
    if (loop.path().empty()) GTEST_SKIP() << "this user may not make a loop device";
    const Result<DiskFile> disk = DiskFile::open({loop.path(), DiskAccess::read_write, DiskCaching::direct});
    ASSERT_TRUE(disk.has_value()) << disk.error().message();
    EXPECT_EQ(disk->kind(), vmm::DiskKind::block_device);
    EXPECT_EQ(disk->limits().bytes, disk_bytes);
    EXPECT_EQ(disk->limits().block, 4096U) << "a device's blocks are the guest's";
    EXPECT_EQ(disk->limits().discard_granularity % 4096, 0U);
    EXPECT_TRUE(says(refusal({loop.path(), DiskAccess::read_write, DiskCaching::buffered}), "another process"));
}

}  // namespace
}  // namespace penumbra::test
