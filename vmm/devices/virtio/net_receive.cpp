#include "vmm/devices/virtio/net_receive.hpp"

#include <algorithm>
#include <utility>

#include "vmm/devices/net/net_format.hpp"

namespace penumbra::vmm {

namespace {

/// Frames taken from the link before others on the loop have their turn.
constexpr unsigned most_per_turn = 256;

}  // namespace

void NetReceive::take(Chain chain) {
    if (chain.writable_bytes < net_header_bytes)
        return parts_.queue.fail("a buffer for frames has no room for a header");
    buffers_.push_back(std::move(chain));
    go_on();
}

void NetReceive::can_receive() {
    link_is_dry_ = false;
    go_on();
}

void NetReceive::forget() {
    ++life_;
    buffers_.clear();
    frames_.clear();
    has_next_ = link_is_dry_ = posted_ = false;
}

void NetReceive::go_on() {
    if (!parts_.running() || !parts_.queue.running() || posted_) return;
    const Virtqueue::Batch batch(parts_.queue);
    finish_frames();
    begin_frames();
}

void NetReceive::begin_frames() {
    for (unsigned taken = 0; parts_.queue.running() && frames_.size() < net_window && !buffers_.empty(); ++taken) {
        if (taken == most_per_turn) return go_on_later();
        if (!has_next_ && !fetch()) return;
        std::size_t buffers = 0;
        switch (fit(buffers)) {
            case Fit::needs_more:
                return;
            case Fit::never:
                parts_.counters.received_dropped.add();
                has_next_ = false;
                break;
            case Fit::fits:
                begin(buffers);
                finish_frames();
                break;
        }
    }
}

void NetReceive::go_on_later() {
    posted_ = true;
    parts_.loop.post([this, life = life_] {
        if (life != life_) return;
        posted_ = false;
        go_on();
    });
}

bool NetReceive::fetch() {
    if (link_is_dry_) return false;
    if (!spare_.empty()) {
        next_ = std::move(spare_.back());
        spare_.pop_back();
    }
    has_next_ = parts_.link.receive(next_);
    link_is_dry_ = !has_next_;
    return has_next_;
}

/// How many buffers the next frame takes.
NetReceive::Fit NetReceive::fit(std::size_t& buffers) const {
    const bool merge = (parts_.features() & net_feature::merge_buffers) != 0;
    const std::size_t most = merge ? most_merged : 1;
    std::uint64_t room = 0;
    for (buffers = 0; room < next_.size(); ++buffers) {
        if (buffers == most) return Fit::never;
        if (buffers == buffers_.size()) return Fit::needs_more;
        room += buffers_[buffers].writable_bytes;
    }
    return Fit::fits;
}

void NetReceive::begin(std::size_t buffers) {
    Frame& frame = frames_.emplace_back(parts_, [this] { go_on(); });
    frame.packet = std::exchange(next_, {});
    has_next_ = false;
    for (std::size_t i = 0; i < buffers; ++i) {
        frame.buffers.push_back(std::move(buffers_.front()));
        buffers_.pop_front();
        const std::vector<Segment>& segments = frame.buffers.back().writable;
        frame.room.insert(frame.room.end(), segments.begin(), segments.end());
    }
    // 5.1.6.4.1: 1 where buffers are not merged.
    NetHeader header = frame.packet.header();
    header.num_buffers = static_cast<std::uint16_t>(buffers);
    frame.packet.set_header(header);
    (void)frame.copy.start(SegmentCursor(frame.room), frame.packet.bytes());
}

void NetReceive::finish_frames() {
    while (parts_.queue.running() && !frames_.empty()) {
        Frame& front = frames_.front();
        if (front.copy.state() == NetCopy::State::going) return;
        if (front.copy.state() == NetCopy::State::not_ram) {
            return parts_.queue.fail("a buffer for frames lies outside of RAM");
        }
        finish(front);
        spare_.push_back(std::move(front.packet));
        frames_.pop_front();
    }
}

void NetReceive::finish(const Frame& frame) {
    std::uint64_t left = frame.packet.size();
    for (const Chain& buffer : frame.buffers) {
        const std::uint64_t written = std::min(left, buffer.writable_bytes);
        parts_.queue.complete(buffer, static_cast<std::uint32_t>(written));
        left -= written;
    }
    parts_.counters.received_frames.add();
    parts_.counters.received_bytes.add(frame.packet.frame().size());
    if (frame.buffers.size() > 1) parts_.counters.received_merged.add();
}

}  // namespace penumbra::vmm
