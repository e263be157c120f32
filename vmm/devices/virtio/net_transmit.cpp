#include "vmm/devices/virtio/net_transmit.hpp"

#include <utility>

#include "vmm/devices/net/net_headers.hpp"

namespace penumbra::vmm {

void NetTransmit::take(Chain chain) {
    if (chain.readable_bytes < net_header_bytes) return parts_.queue.fail("a frame to send has no whole header");
    if (chain.readable_bytes > most_packet_bytes) {
        // Its order does not matter, as nothing of it is sent.
        parts_.counters.sent_refused.add();
        return parts_.queue.complete(chain, 0);
    }
    chains_.push_back(std::move(chain));
    go_on();
}

void NetTransmit::can_send() {
    link_is_full_ = false;
    go_on();
}

void NetTransmit::forget() {
    chains_.clear();
    frames_.clear();
    link_is_full_ = false;
}

// No more turns than the ring has chains.
void NetTransmit::go_on() {
    if (!parts_.running() || !parts_.queue.running()) return;
    const Virtqueue::Batch batch(parts_.queue);
    do {
        while (frames_.size() < net_window && !chains_.empty()) gather();
    } while (send_front() == Sent::one);
}

void NetTransmit::gather() {
    Frame& frame = frames_.emplace_back(parts_, [this] { go_on(); });
    frame.chain = std::move(chains_.front());
    chains_.pop_front();
    if (!spare_.empty()) {
        frame.packet = std::move(spare_.back());
        spare_.pop_back();
    }
    (void)frame.copy.start(SegmentCursor(frame.chain.readable), frame.packet.room(frame.chain.readable_bytes));
}

NetTransmit::Sent NetTransmit::send_front() {
    if (frames_.empty() || link_is_full_) return Sent::none;
    Frame& front = frames_.front();
    if (front.copy.state() == NetCopy::State::not_ram) parts_.queue.fail("a frame to send lies outside of RAM");
    if (front.copy.state() != NetCopy::State::done) return Sent::none;
    if (hand_over(front.packet) == NetLink::Sent::later) {
        link_is_full_ = true;
        parts_.counters.sent_waits.add();
        return Sent::none;
    }
    parts_.queue.complete(front.chain, 0);
    spare_.push_back(std::move(front.packet));
    frames_.pop_front();
    return Sent::one;
}

NetLink::Sent NetTransmit::hand_over(NetPacket& packet) {
    const std::size_t bytes = packet.frame().size();
    if (check_transmit(packet.header(), bytes, parts_.features()) == HeaderCheck::unsound) {
        parts_.counters.sent_refused.add();
        return NetLink::Sent::lost;
    }
    const NetLink::Sent sent = parts_.link.send(packet);
    if (sent == NetLink::Sent::yes) {
        parts_.counters.sent_frames.add();
        parts_.counters.sent_bytes.add(bytes);
    }
    return sent;
}

}  // namespace penumbra::vmm
