#include "vmm/devices/virtio/segments.hpp"

#include <algorithm>

#include "base/assert.hpp"

namespace penumbra::vmm {

namespace {

/// One piece per page: a page that is absent must not hold back those before it.
template <class Bytes, class Access>
Copied copy(SegmentCursor& cursor, Bytes bytes, Access access) {
    Copied copied;
    while (copied.bytes < bytes.size() && cursor.left() > 0) {
        const Segment piece = cursor.here_in_page();
        const std::size_t count = std::min<std::size_t>(piece.bytes, bytes.size() - copied.bytes);
        if (const auto done = access(piece.first, bytes.subspan(copied.bytes, count)); !done) {
            copied.stopped = done.error();
            break;
        }
        copied.bytes += count;
        cursor.advance(count);
    }
    return copied;
}

}  // namespace

SegmentCursor::SegmentCursor(std::span<const Segment> segments) : segments_(segments) {
    for (const Segment& segment : segments_) left_ += segment.bytes;
}

Segment SegmentCursor::here() const {
    PENUMBRA_ASSERT(left_ > 0, "the segments have ended");
    const Segment& whole = segments_.front();
    return {whole.first + done_, whole.bytes - done_};
}

Segment SegmentCursor::here_in_page() const {
    Segment piece = here();
    piece.bytes =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(piece.bytes, page_bytes - page_offset(piece.first)));
    return piece;
}

void SegmentCursor::advance(std::uint64_t bytes) {
    PENUMBRA_ASSERT(bytes <= left_, "the cursor went past the segments");
    left_ -= bytes;
    while (bytes > 0) {
        const std::uint32_t step =
            static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes, segments_.front().bytes - done_));
        bytes -= step;
        done_ += step;
        if (done_ < segments_.front().bytes) return;
        segments_ = segments_.subspan(1);
        done_ = 0;
    }
}

Copied copy_from_guest(DmaClient& dma, SegmentCursor& from, std::span<std::byte> to) {
    return copy(from, to, [&dma](Gpa at, std::span<std::byte> bytes) { return dma.read(at, bytes); });
}

Copied copy_to_guest(DmaClient& dma, SegmentCursor& to, std::span<const std::byte> from) {
    return copy(to, from, [&dma](Gpa at, std::span<const std::byte> bytes) { return dma.write(at, bytes); });
}

}  // namespace penumbra::vmm
