#include <algorithm>
#include <cerrno>
#include <utility>

#include "vmm/devices/virtio/block_work.hpp"

namespace penumbra::vmm {

namespace {

using Token = BlockEngine::Token;

}  // namespace

bool is_aligned(const BlockExtent& extent, std::uint32_t block) {
    SegmentCursor memory = extent.memory;
    for (std::uint64_t left = extent.bytes; left > 0;) {
        const Segment piece = memory.here();
        const std::uint64_t bytes = std::min<std::uint64_t>(piece.bytes, left);
        if (((piece.first.value() | bytes) & (block - 1)) != 0) return false;
        memory.advance(bytes);
        left -= bytes;
    }
    return true;
}

bool StraightTransfer::go_on() {
    while (rest_.bytes > 0 && task_.error() == 0) {
        if (!dispatch()) return false;
    }
    return task_.idle();
}

/// Begins I/O on the present bytes from here on; false: go on when some of what was begun has ended, or there is a
/// token.
bool StraightTransfer::dispatch() {
    if (task_.operations() >= operations_at_once || !engine_.take(Token::present, task_)) return false;
    const std::uint64_t offset = rest_.offset;
    Run run;
    const std::optional<DmaMiss> miss = gather(run);
    if (run.bytes > 0) {
        engine_.transfer(task_, Token::present, rest_.direction, offset, run.pieces, std::move(run.holds));
    } else {
        engine_.give_back(Token::present);
    }
    if (!miss) return true;
    if (*miss == DmaMiss::absent) return wish();
    task_.fail(EFAULT);
    return true;
}

std::optional<DmaMiss> StraightTransfer::gather(Run& run) {
    while (rest_.bytes > 0 && run.pieces.size() < pieces_at_once && run.bytes < bytes_at_once) {
        const Segment here = rest_.memory.here();
        const std::uint64_t most = std::min({std::uint64_t{here.bytes}, rest_.bytes, bytes_at_once - run.bytes});
        std::expected<DmaHold, DmaMiss> hold = engine_.dma().hold(here.first, most);
        if (!hold) return hold.error();
        const std::span<std::byte> bytes = hold->bytes();
        run.pieces.push_back({bytes.data(), bytes.size()});
        run.holds.push_back(std::move(*hold));
        run.bytes += bytes.size();
        rest_.advance(bytes.size());
    }
    return std::nullopt;
}

bool StraightTransfer::wish() {
    if (task_.wishes() >= wishes_at_once || !engine_.take(Token::wish, task_)) return false;
    BlockExtent piece = rest_;
    piece.bytes = std::min<std::uint64_t>(rest_.memory.here_in_page().bytes, rest_.bytes);
    rest_.advance(piece.bytes);
    engine_.want(task_, frame_of(piece.memory.here().first), piece.access(),
                 [this, piece](DmaGrant grant) { granted(piece, grant); });
    return true;
}

/// The page is held until this returns: the hold taken here is what keeps it from leaving before its I/O.
void StraightTransfer::granted(const BlockExtent& piece, DmaGrant grant) {
    if (grant == DmaGrant::not_ram) task_.fail(EFAULT);
    if (task_.error() != 0) return engine_.give_back(Token::wish);
    std::expected<DmaHold, DmaMiss> hold = engine_.dma().hold(piece.memory.here().first, piece.bytes);
    if (!hold || hold->bytes().size() < piece.bytes) {
        task_.fail(EBUSY);  // only a page that is held many thousand times already cannot be held again
        return engine_.give_back(Token::wish);
    }
    const iovec bytes{hold->bytes().data(), piece.bytes};
    std::vector<DmaHold> holds;
    holds.push_back(std::move(*hold));
    engine_.transfer(task_, Token::wish, piece.direction, piece.offset, {&bytes, 1}, std::move(holds));
}

}  // namespace penumbra::vmm
