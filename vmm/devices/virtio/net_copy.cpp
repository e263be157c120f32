#include "vmm/devices/virtio/net_copy.hpp"

#include <algorithm>

namespace penumbra::vmm {

NetCopy::State NetCopy::start(SegmentCursor guest, std::span<std::byte> host) {
    guest_ = guest;
    host_ = host;
    go_on();
    return state_;
}

void NetCopy::go_on() {
    while (state_ == State::going && !host_.empty() && wishes_ < most_wishes) {
        const Copied copied = direction_ == Direction::from_guest ? copy_from_guest(parts_.dma, guest_, host_)
                                                                  : copy_to_guest(parts_.dma, guest_, host_);
        host_ = host_.subspan(copied.bytes);
        if (!copied.stopped) continue;
        if (*copied.stopped == DmaMiss::absent) {
            wish();
        } else {
            state_ = State::not_ram;
        }
    }
    if (state_ == State::going && host_.empty() && wishes_ == 0) state_ = State::done;
}

void NetCopy::wish() {
    const Segment here = guest_.here_in_page();
    const std::size_t bytes = std::min<std::size_t>(here.bytes, host_.size());
    const Piece piece{here.first, host_.first(bytes)};
    guest_.advance(bytes);
    host_ = host_.subspan(bytes);
    ++wishes_;
    parts_.counters.wanted_pages.add();
    const auto access = direction_ == Direction::from_guest ? mmu::FaultAccess::read : mmu::FaultAccess::write;
    parts_.want(frame_of(piece.guest), access, [this, piece](DmaGrant grant) { granted(piece, grant); });
}

void NetCopy::granted(const Piece& piece, DmaGrant grant) {
    --wishes_;
    if (state_ != State::going) return;
    // The page is held now: it is there for its piece whatever else happens.
    if (grant == DmaGrant::not_ram || !copy(piece)) {
        state_ = State::not_ram;
    } else {
        go_on();
    }
    if (state_ != State::going) ended_();
}

bool NetCopy::copy(const Piece& piece) {
    if (direction_ == Direction::from_guest) return parts_.dma.read(piece.guest, piece.host).has_value();
    return parts_.dma.write(piece.guest, piece.host).has_value();
}

}  // namespace penumbra::vmm
