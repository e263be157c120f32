// The part of BlobPool that moves blobs together. A blob is copied first; then its page's owner swaps the handles; then
// the old slot is released. Until then neither slot is given to anybody else, so that a handle that the owner finds
// unchanged still means the bytes that were copied.
#include <algorithm>
#include <cstring>

#include "vmm/memory/tier/blob_pool.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::uint64_t holes_allowed = 32;       // a part of the slots' bytes
constexpr std::uint64_t little = 4 * page_bytes;  // not worth the trouble
constexpr unsigned slabs_tried = 8;               // in one call

}  // namespace

BlobPool::Move* BlobPool::move_of(SlotRef ref) {
    const auto moves = std::span{moves_}.first(moving_);
    const auto at = std::ranges::find_if(moves, [&](const Move& move) { return move.from == ref || move.to == ref; });
    return at == moves.end() ? nullptr : &*at;
}

bool BlobPool::is_moving(SlotRef ref) const {
    return std::ranges::any_of(std::span{moves_}.first(moving_), [&](const Move& move) { return move.from == ref; });
}

void BlobPool::plan_moves_from(std::uint32_t slab_index, std::size_t most) {
    const Slab& slab = table_[slab_index];
    for (unsigned slot = slab.shape().slots; slot-- > 0 && moving_ < most;) {
        const SlotRef from{slab_index, slot};
        if (!slab.is_taken(slot) || is_moving(from)) continue;
        if (header_at(from).state() != BlobState::owned) continue;
        std::optional<SlotRef> to = heap_.take_beside(slab_index, limit());
        if (!to) to = heap_.take_below(from, limit());
        if (!to) return;
        moves_[moving_++] = {.from = from, .to = *to};
    }
}

std::size_t BlobPool::plan_moves(std::size_t most) {
    if (moving_ != 0) return 0;  // another thread is at it
    const std::uint64_t taken = heap_.taken_bytes();
    if (heap_.resident_bytes() <= taken + taken / holes_allowed + little) return 0;
    for (unsigned tried = 0; moving_ < most && tried < slabs_tried; ++tried) {
        const std::optional<std::uint32_t> slab = heap_.next_sparse();
        if (!slab) break;
        plan_moves_from(*slab, most);
    }
    publish_counts();
    return moving_;
}

std::optional<std::uint32_t> BlobPool::copy_to(SlotRef from, SlotRef to) {
    std::array<std::byte, largest_slot_bytes> bytes;
    const std::size_t length = table_[from.slab].shape().slot_bytes;  // of both: neither slab can be cut anew
    BlobHeader header;
    {
        const MutexLock lock{copy_lock(from.slab)};
        std::memcpy(bytes.data(), slot_address(from), length);
    }
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.state() != BlobState::owned) return std::nullopt;
    const MutexLock lock{copy_lock(to.slab)};
    std::memcpy(slot_address(to), bytes.data(), length);
    return header.page();
}

std::size_t BlobPool::compact(std::size_t most, const Relocate& relocate) {
    std::array<Move, most_moves> moves;
    std::size_t count = 0;
    {
        const MutexLock lock{mutex_};
        count = plan_moves(std::min(most, most_moves));
        std::ranges::copy(std::span{moves_}.first(count), moves.begin());
    }
    const auto moved = std::span{moves}.first(count);
    for (Move& move : moved) {
        const std::optional<std::uint32_t> page = copy_to(move.from, move.to);
        move.done = page && relocate(*page, handle_of(move.from), handle_of(move.to));
    }
    return count == 0 ? 0 : finish_moves(moved);
}

std::size_t BlobPool::finish_moves(std::span<const Move> moved) {
    std::size_t done = 0;
    const MutexLock lock{mutex_};
    const std::array<Move, most_moves> moves = moves_;  // with what was dropped meanwhile
    moving_ = 0;
    for (std::size_t i = 0; i < moved.size(); ++i) {
        const Move& move = moves[i];
        if (!moved[i].done) {
            release(move.to);
            if (move.from_dropped) release(move.from);
            heap_.give_back_idle(move.from.slab);
            heap_.give_back_idle(move.to.slab);
            continue;
        }
        ++done;
        PENUMBRA_ASSERT(!move.from_dropped, "a handle that was replaced is not dropped");
        const BlobHeader header = header_at(move.from);
        const auto from = static_cast<std::uint32_t>(handle_of(move.from));
        const auto to = static_cast<std::uint32_t>(handle_of(move.to));
        if (vm_ && move.to_dropped) index_.remove(header.contents(*vm_), from);
        if (vm_ && !move.to_dropped) index_.replace(header.contents(*vm_), from, to);
        release(move.from);
        heap_.give_back_idle(move.from.slab);
    }
    publish_counts();
    return done;
}

}  // namespace penumbra::vmm
