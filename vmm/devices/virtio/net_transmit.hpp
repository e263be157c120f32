// The card's way out: chains of the guest, each one frame, in the order in which the driver made them available.
#pragma once

#include <deque>
#include <list>
#include <vector>

#include "vmm/devices/virtio/chain_parser.hpp"
#include "vmm/devices/virtio/net_copy.hpp"

namespace penumbra::vmm {

/// On the loop.
class NetTransmit {
public:
    explicit NetTransmit(NetParts parts) : parts_(std::move(parts)) {}

    void take(Chain chain);
    /// Does what can be done now.
    void go_on();
    /// The link takes frames again.
    void can_send();
    /// The chains are gone; all wishes were forgotten before.
    void forget();

private:
    struct Frame {
        Frame(const NetParts& parts, std::function<void()> ended)
            : copy(parts, NetCopy::Direction::from_guest, std::move(ended)) {}
        Chain chain;
        NetPacket packet;
        NetCopy copy;
    };
    enum class Sent : std::uint8_t { one, none };

    void gather();
    [[nodiscard]] Sent send_front();
    [[nodiscard]] NetLink::Sent hand_over(NetPacket& packet);

    const NetParts parts_;
    std::deque<Chain> chains_;  // not begun
    std::list<Frame> frames_;   // in the order of the ring; their copies stay in place
    std::vector<NetPacket> spare_;
    bool link_is_full_ = false;
};

}  // namespace penumbra::vmm
