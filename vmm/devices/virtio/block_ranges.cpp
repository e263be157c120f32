#include "vmm/devices/virtio/block_ranges.hpp"

#include <algorithm>
#include <cerrno>
#include <span>

namespace penumbra::vmm {

namespace {

/// Never written: what is written from.
alignas(page_bytes) constinit std::array<std::byte, 64U << 10> zeroes{};
constexpr std::size_t pieces_at_once = 16;

}  // namespace

RangeWork::RangeWork(BlockEngine& engine, BlockTask& task, RangeVerb verb, SegmentCursor ranges)
    : engine_(engine), task_(task), verb_(verb), source_(ranges), bytes_(ranges.left()) {
    if (bytes_ == 0 || bytes_ % sizeof(Range) != 0 || bytes_ > sizeof(ranges_)) task_.fail(EINVAL);
}

bool RangeWork::go_on() {
    if (!task_.idle() || !read_ranges()) return false;
    if (!checked_ && !check_ranges()) return true;
    while (next_ < bytes_ / sizeof(Range) && task_.error() == 0) {
        if (ranges_[next_].num_sectors == 0) {
            ++next_;
        } else {
            (void)begin(ranges_[next_]);
            if (!task_.idle()) return false;
        }
    }
    return task_.idle();
}

bool RangeWork::read_ranges() {
    const std::span<std::byte> all = std::as_writable_bytes(std::span{ranges_}).first(bytes_);
    if (have_ == bytes_) return true;
    const Copied copied = copy_from_guest(engine_.dma(), source_, all.subspan(have_));
    have_ += copied.bytes;
    if (copied.stopped == DmaMiss::absent) {
        engine_.want(task_, engine_.dma().missing(), mmu::FaultAccess::read, {});
        return false;
    }
    if (copied.stopped) task_.fail(EFAULT);
    return true;
}

/// All of them before the first is touched. False: the request has ended, with an error or with UNSUPP.
bool RangeWork::check_ranges() {
    checked_ = true;
    if (task_.error() != 0) return false;
    const std::uint64_t capacity = engine_.file().limits().bytes / sector_bytes;
    const bool discard = verb_ == RangeVerb::discard;
    const std::uint32_t allowed_flags = discard ? 0 : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
    for (const Range& range : std::span{ranges_}.first(bytes_ / sizeof(Range))) {
        if ((range.flags & ~allowed_flags) != 0) unsupported_ = true;
        const bool too_long = range.num_sectors > (discard ? most_discard_sectors : most_zeroed_sectors);
        if (too_long || range.sector > capacity || range.num_sectors > capacity - range.sector) task_.fail(EINVAL);
    }
    return !unsupported_ && task_.error() == 0;
}

bool RangeWork::begin(const Range& range) {
    const std::optional<DiskIo::Clear> how = way(range);
    if (!how) {
        if (verb_ == RangeVerb::write_zeroes) return write_zeroes(range);
        ++next_;  // a discard may do nothing
        return true;
    }
    if (!engine_.take(BlockEngine::Token::present, task_)) return false;
    engine_.clear(task_, BlockEngine::Token::present, *how, range.sector * sector_bytes,
                  std::uint64_t{range.num_sectors} * sector_bytes, [this, how](int error_number) {
                      if (error_number == EOPNOTSUPP) return engine_.cannot(*how);
                      if (error_number != 0) task_.fail(error_number);
                      ++next_;
                  });
    return true;
}

std::optional<DiskIo::Clear> RangeWork::way(const Range& range) const {
    using enum DiskIo::Clear;
    const bool may_unmap = verb_ == RangeVerb::discard || (range.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) != 0;
    if (may_unmap && engine_.can(punch)) return punch;
    if (verb_ == RangeVerb::write_zeroes && engine_.can(zero)) return zero;
    return std::nullopt;
}

bool RangeWork::write_zeroes(const Range& range) {
    const std::uint64_t bytes = std::uint64_t{range.num_sectors} * sector_bytes;
    if (written_ == bytes) {
        written_ = 0;
        ++next_;
        return true;
    }
    if (!engine_.take(BlockEngine::Token::present, task_)) return false;
    std::array<iovec, pieces_at_once> pieces{};
    std::size_t count = 0;
    const std::uint64_t offset = range.sector * sector_bytes + written_;
    for (; count < pieces.size() && written_ < bytes; ++count) {
        const std::uint64_t part = std::min<std::uint64_t>(zeroes.size(), bytes - written_);
        pieces[count] = {zeroes.data(), part};
        written_ += part;
    }
    engine_.transfer(task_, BlockEngine::Token::present, DiskIo::Direction::write, offset,
                     std::span{pieces}.first(count), {});
    return true;
}

}  // namespace penumbra::vmm
