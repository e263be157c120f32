// The card's way in: frames of the link, put into buffers of the guest in the order of their coming.
#pragma once

#include <deque>
#include <list>
#include <vector>

#include "vmm/devices/virtio/chain_parser.hpp"
#include "vmm/devices/virtio/net_copy.hpp"

namespace penumbra::vmm {

/// On the loop. Nothing is taken from the link that no buffer waits for.
class NetReceive {
public:
    /// Buffers that one frame may be spread over (5.1.6.3.1).
    static constexpr std::size_t most_merged = 64;

    explicit NetReceive(NetParts parts) : parts_(std::move(parts)) {}

    /// A buffer of the guest's.
    void take(Chain chain);
    /// Does what can be done now.
    void go_on();
    /// The link has frames again.
    void can_receive();
    /// Buffers and frames in hand are gone; all wishes were forgotten before.
    void forget();

private:
    struct Frame {
        Frame(const NetParts& parts, std::function<void()> ended)
            : copy(parts, NetCopy::Direction::to_guest, std::move(ended)) {}
        NetPacket packet;
        std::vector<Chain> buffers;
        std::vector<Segment> room;  // of all of them
        NetCopy copy;
    };
    enum class Fit : std::uint8_t { fits, needs_more, never };

    void begin_frames();
    [[nodiscard]] bool fetch();
    [[nodiscard]] Fit fit(std::size_t& buffers) const;
    void begin(std::size_t buffers);
    void finish_frames();
    void finish(const Frame& frame);
    void go_on_later();

    const NetParts parts_;
    std::deque<Chain> buffers_;
    std::list<Frame> frames_;  // in the order of their coming; their copies stay in place
    NetPacket next_;           // fetched from the link, not begun
    bool has_next_ = false;
    bool link_is_dry_ = false;
    bool posted_ = false;
    std::uint32_t life_ = 0;  // grows with every forget()
    std::vector<NetPacket> spare_;
};

}  // namespace penumbra::vmm
