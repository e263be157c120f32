// Guest buffers as a virtqueue names them, and copying through them piece by piece.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/address.hpp"
#include "vmm/devices/dma/dma_space.hpp"

namespace penumbra::vmm {

/// Guest-physical bytes, never empty; `first + bytes` does not overflow. Whether they are RAM only an access tells.
struct Segment {
    Gpa first;
    std::uint32_t bytes = 0;

    friend bool operator==(const Segment&, const Segment&) = default;
};

/// A position within segments that somebody else keeps. It only goes forward, so what was copied is never copied again.
class SegmentCursor {
public:
    SegmentCursor() = default;
    /// The segments stay where they are while the cursor is used (moving their vector leaves them there).
    explicit SegmentCursor(std::span<const Segment> segments);

    /// Bytes from here to the end.
    [[nodiscard]] std::uint64_t left() const { return left_; }
    /// The rest of the segment under the cursor. Asserts left() > 0.
    [[nodiscard]] Segment here() const;
    /// The same, but at most what lies in its first page.
    [[nodiscard]] Segment here_in_page() const;
    /// Asserts bytes <= left().
    void advance(std::uint64_t bytes);

private:
    std::span<const Segment> segments_;
    std::uint32_t done_ = 0;  // of segments_.front()
    std::uint64_t left_ = 0;
};

/// How far a copy came. `stopped` is empty when everything asked for was copied (or the segments ended); with `absent`,
/// want() DmaClient::missing() and go on from where the cursor stands.
struct Copied {
    std::size_t bytes = 0;
    std::optional<DmaMiss> stopped;
};

/// Both move the cursor over what they copied: as many bytes as the buffer has, the segments have left, and are
/// present.
[[nodiscard]] Copied copy_from_guest(DmaClient& dma, SegmentCursor& from, std::span<std::byte> to);
[[nodiscard]] Copied copy_to_guest(DmaClient& dma, SegmentCursor& to, std::span<const std::byte> from);

}  // namespace penumbra::vmm
