// DISCARD and WRITE_ZEROES: a list of ranges in guest memory, and what the kernel does about each (virtio 1.2, 5.2.6).
#pragma once

#include <linux/virtio_blk.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "vmm/devices/virtio/block_work.hpp"

namespace penumbra::vmm {

enum class RangeVerb : std::uint8_t { discard, write_zeroes };

/// What the driver is told it may ask for. Sectors of 512 bytes, per range.
inline constexpr std::uint32_t most_ranges = 32;
inline constexpr std::uint32_t most_discard_sectors = 1U << 22;
inline constexpr std::uint32_t most_zeroed_sectors = 1U << 17;  // they may have to be written

/// One at a time, each by the first way that the file system knows: for zeroes that is punching (if the driver agrees
/// to lose the space), the kernel's own zeroing, writing them.
class RangeWork final : public BlockWork {
public:
    /// `ranges`: the readable bytes after the header.
    RangeWork(BlockEngine& engine, BlockTask& task, RangeVerb verb, SegmentCursor ranges);
    [[nodiscard]] bool go_on() override;

    /// The driver asked for something that the standard wants answered by UNSUPP.
    [[nodiscard]] bool unsupported() const { return unsupported_; }

private:
    using Range = virtio_blk_discard_write_zeroes;
    static_assert(sizeof(Range) == 16);

    [[nodiscard]] bool read_ranges();
    [[nodiscard]] bool check_ranges();
    [[nodiscard]] bool begin(const Range& range);
    [[nodiscard]] std::optional<DiskIo::Clear> way(const Range& range) const;
    [[nodiscard]] bool write_zeroes(const Range& range);

    BlockEngine& engine_;
    BlockTask& task_;
    const RangeVerb verb_;
    SegmentCursor source_;
    std::array<Range, most_ranges> ranges_{};
    std::size_t bytes_ = 0;  // of ranges_
    std::size_t have_ = 0;   // of them, read already
    bool checked_ = false;
    std::size_t next_ = 0;       // range to begin
    std::uint64_t written_ = 0;  // bytes of that range, when zeroes are written
    bool unsupported_ = false;
};

}  // namespace penumbra::vmm
