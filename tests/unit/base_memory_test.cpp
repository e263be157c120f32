// MappedRegion and UniqueFd: who owns, who lets go, and when.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/mapped_region.hpp"
#include "base/unique_fd.hpp"

namespace penumbra {
namespace {

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

/// mincore answers ENOMEM for address space that nothing maps.
bool is_mapped(void* page) {
    unsigned char resident = 0;
    return ::mincore(page, page_bytes, &resident) == 0 || errno != ENOMEM;
}

UniqueFd memory_file(std::size_t bytes) {
    UniqueFd fd{::memfd_create("test", MFD_CLOEXEC)};
    EXPECT_TRUE(fd);
    EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(bytes)), 0);
    return fd;
}

TEST(UniqueFd, ClosesOnceAndMovesEmptyTheSource) {
    int number = -1;
    {
        UniqueFd first = memory_file(0);
        number = first.get();
        UniqueFd second = std::move(first);
        EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): the moved-from state is promised
        EXPECT_EQ(second.get(), number);
        EXPECT_TRUE(is_open(number));
    }
    EXPECT_FALSE(is_open(number));
}

TEST(UniqueFd, AssignmentClosesWhatItHeld) {
    UniqueFd fd = memory_file(0);
    const int old = fd.get();
    UniqueFd next = memory_file(0);
    const int number = next.get();
    fd = std::move(next);
    EXPECT_FALSE(is_open(old));
    EXPECT_EQ(fd.get(), number);
    fd.reset();
    EXPECT_FALSE(is_open(number));
}

TEST(MappedRegion, AnonymousMemoryIsAlignedAndZero) {
    for (const std::size_t alignment : {page_bytes, std::uint64_t{1} << 21, std::uint64_t{1} << 30}) {
        auto region = MappedRegion::anonymous(3 * page_bytes, alignment);
        ASSERT_TRUE(region) << region.error().message();
        EXPECT_EQ(region->address().value() % alignment, 0U);
        EXPECT_EQ(region->pages().pages(), 3U);
        for (std::size_t i = 0; i < region->size(); i += page_bytes) EXPECT_EQ(region->bytes()[i], std::byte{0});
        region->bytes().back() = std::byte{1};
    }
}

TEST(MappedRegion, MoveHandsTheMappingOverAndDestructionUnmapsIt) {
    void* page = nullptr;
    {
        auto region = MappedRegion::anonymous(page_bytes);
        ASSERT_TRUE(region);
        page = region->data();
        MappedRegion owner = std::move(*region);
        EXPECT_FALSE(*region);
        EXPECT_TRUE(is_mapped(page));
        owner = MappedRegion{};
        EXPECT_FALSE(owner);
    }
    EXPECT_FALSE(is_mapped(page));
}

TEST(MappedRegion, SharedFileMappingsSeeEachOther) {
    const UniqueFd fd = memory_file(2 * page_bytes);
    auto writer = MappedRegion::shared_file(fd.get(), 2 * page_bytes, 0, MapAccess::read_write);
    auto reader = MappedRegion::shared_file(fd.get(), page_bytes, page_bytes, MapAccess::read);
    ASSERT_TRUE(writer && reader);
    writer->bytes()[page_bytes + 5] = std::byte{42};
    EXPECT_EQ(reader->bytes()[5], std::byte{42});
}

TEST(MappedRegion, ErrorsNameTheDescriptor) {
    const auto region = MappedRegion::shared_file(-1, page_bytes, 0, MapAccess::read);
    ASSERT_FALSE(region);
    EXPECT_EQ(region.error().message(), "cannot map file descriptor -1: Bad file descriptor");
}

TEST(MappedRegion, PlacedFilesAreReadableInsideTheReservation) {
    const UniqueFd fd = memory_file(page_bytes);
    ASSERT_EQ(::pwrite(fd.get(), "x", 1, 0), 1);
    auto region = MappedRegion::reserve(4 * page_bytes);
    ASSERT_TRUE(region);
    ASSERT_TRUE(region->place_file(2 * page_bytes, fd.get(), page_bytes));
    EXPECT_EQ(region->bytes()[2 * page_bytes], std::byte{'x'});
}

TEST(MappedRegionDeathTest, BrokenPromisesStopTheProcess) {
    EXPECT_DEATH((void)MappedRegion::anonymous(page_bytes + 1), "partial page");
    EXPECT_DEATH((void)MappedRegion::anonymous(page_bytes, 3 * page_bytes), "mapping alignment");
    auto region = MappedRegion::reserve(page_bytes);
    ASSERT_TRUE(region);
    EXPECT_DEATH((void)region->place_file(page_bytes, 0, page_bytes), "outside its region");
}

}  // namespace
}  // namespace penumbra
