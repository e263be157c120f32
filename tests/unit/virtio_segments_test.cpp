// Copying through segments: each byte once, in order, whatever is absent in between.
#include <gtest/gtest.h>

#include <random>

#include "tests/support/dma_loop.hpp"
#include "tests/support/fake_dma_machine.hpp"
#include "vmm/devices/virtio/segments.hpp"

namespace penumbra::test {
namespace {

using vmm::Copied;
using vmm::DmaMiss;
using vmm::Segment;
using vmm::SegmentCursor;

constexpr Gpa low = Gpa{FakeDmaMachine::low_first.value() << page_shift};

/// The loop does not run: the test's thread is the device's.
class Segments : public testing::Test {
protected:
    void fill(Gpa at, std::size_t bytes) {
        std::vector<std::byte> made(bytes);
        for (std::size_t i = 0; i < bytes; ++i) made[i] = static_cast<std::byte>(next_++ % 251);
        machine_.write(at, made);
        all_.insert(all_.end(), made.begin(), made.end());
    }
    std::size_t next_ = 0;
    std::vector<std::byte> all_;
    FakeDmaMachine machine_;
    DmaLoop device_{machine_.service(), DmaLoop::Start::later};
};

TEST_F(Segments, CursorWalksOverThem) {
    const std::array segments{Segment{low + 4000, 200}, Segment{low, 3}, Segment{low + 8192, 5000}};
    SegmentCursor cursor(segments);
    EXPECT_EQ(cursor.left(), 5203U);
    EXPECT_EQ(cursor.here(), (Segment{low + 4000, 200}));
    EXPECT_EQ(cursor.here_in_page(), (Segment{low + 4000, 96}));
    cursor.advance(150);
    EXPECT_EQ(cursor.here_in_page(), (Segment{low + 4150, 50}));
    cursor.advance(52);
    EXPECT_EQ(cursor.here(), (Segment{low + 2, 1}));
    cursor.advance(1);
    EXPECT_EQ(cursor.here_in_page(), (Segment{low + 8192, 4096}));
    cursor.advance(5000);
    EXPECT_EQ(cursor.left(), 0U);
    EXPECT_EQ(SegmentCursor().left(), 0U);
}

TEST_F(Segments, AreReadAndWrittenInPieces) {
    const std::array segments{Segment{low + 4000, 200}, Segment{low + 12'000, 3}, Segment{low + 16'384, 5000}};
    for (const Segment& segment : segments) fill(segment.first, segment.bytes);
    SegmentCursor cursor(segments);
    std::vector<std::byte> seen;
    while (cursor.left() > 0) {
        std::array<std::byte, 777> piece{};
        const Copied copied = vmm::copy_from_guest(device_.client(), cursor, piece);
        ASSERT_FALSE(copied.stopped);
        seen.insert(seen.end(), piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(copied.bytes));
    }
    EXPECT_EQ(seen, all_);

    SegmentCursor back(segments);
    std::vector<std::byte> zeroes(10'000);
    const Copied copied = vmm::copy_to_guest(device_.client(), back, zeroes);
    EXPECT_EQ(copied.bytes, 5203U);
    EXPECT_FALSE(copied.stopped);
    std::vector<std::byte> now(5000, std::byte{1});
    machine_.read(low + 16'384, now);
    EXPECT_EQ(now, std::vector<std::byte>(5000));
}

TEST_F(Segments, StopAtWhatIsAbsentAndGoOnFromThere) {
    const std::array segments{Segment{low + 100, 3 * page_bytes}};
    fill(segments[0].first, segments[0].bytes);
    (void)machine_.evict(GfnRange{frame_of(low) + 1, 1});
    SegmentCursor cursor(segments);
    std::vector<std::byte> seen(segments[0].bytes);
    Copied copied = vmm::copy_from_guest(device_.client(), cursor, seen);
    EXPECT_EQ(copied.bytes, page_bytes - 100);
    EXPECT_EQ(copied.stopped, DmaMiss::absent);
    EXPECT_EQ(device_.client().missing(), frame_of(low) + 1);
    std::byte byte{};
    machine_.read(low + page_bytes, std::span{&byte, 1});
    // The first page may leave now: it is not read again.
    (void)machine_.evict(GfnRange{frame_of(low), 1});
    copied = vmm::copy_from_guest(device_.client(), cursor, std::span(seen).subspan(copied.bytes));
    EXPECT_FALSE(copied.stopped);
    EXPECT_EQ(seen, all_);
}

TEST_F(Segments, StopAtWhatIsNotRam) {
    const Gpa last = low + FakeDmaMachine::slot_pages * page_bytes - 4;
    const std::array segments{Segment{last, 8}};
    machine_.write(last, std::array{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}});
    SegmentCursor cursor(segments);
    std::array<std::byte, 8> seen{};
    const Copied copied = vmm::copy_from_guest(device_.client(), cursor, seen);
    EXPECT_EQ(copied.bytes, 4U);
    EXPECT_EQ(copied.stopped, DmaMiss::not_ram);
    const Copied none = vmm::copy_to_guest(device_.client(), cursor, seen);
    EXPECT_EQ(none.bytes, 0U);
    EXPECT_EQ(none.stopped, DmaMiss::not_ram);
}

}  // namespace
}  // namespace penumbra::test
