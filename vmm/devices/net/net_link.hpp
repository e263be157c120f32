// What a network card is plugged into on the host's side.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/counters.hpp"
#include "vmm/devices/net/net_packet.hpp"

namespace penumbra::vmm {

/// What a link tells its card: on the card's loop, and never from inside one of the link's methods.
class NetLinkEvents {
public:
    virtual ~NetLinkEvents() = default;
    /// receive() had nothing and may have something now.
    virtual void can_receive() = 0;
    /// send() said `later` and may say something else now.
    virtual void can_send() = 0;
    /// The link is gone for good. One line for people.
    virtual void link_down(std::string_view why) = 0;
    /// Something is wrong that people can mend; frames get lost meanwhile.
    virtual void link_trouble(std::string_view what) = 0;
};

/// Thread-safe.
struct NetLinkCounters {
    Counter received_lost;  ///< frames to the guest for which there was no room, or which it does not understand
    Counter sent_lost;      ///< frames from the guest that the host refused
};

/// Everything on the card's loop, except attach() and the destructor, which run while the loop does not; nothing waits.
/// Frames that the card does not ask for stay with the host, in a bounded number.
class NetLink {
public:
    NetLink() = default;
    NetLink(const NetLink&) = delete;
    NetLink& operator=(const NetLink&) = delete;
    virtual ~NetLink() = default;

    /// Once, before anything else. `events` outlives the loop's thread.
    virtual void attach(NetLinkEvents& events) = 0;
    /// Feature bits about checksums and segmentation (5.1.3) that the link really carries out.
    [[nodiscard]] virtual std::uint64_t offload_features() const = 0;
    /// The longest IP packet that gets through unsegmented; 0: not known.
    [[nodiscard]] virtual std::uint16_t mtu() const = 0;
    /// What the driver negotiated: frames that need more of it than that do not come.
    virtual void use_features(std::uint64_t features) = 0;

    /// Fills `into` with a header (num_buffers aside) and a frame; false: there is none now, see can_receive().
    [[nodiscard]] virtual bool receive(NetPacket& into) = 0;
    enum class Sent : std::uint8_t { yes, lost, later };
    /// A header that check_transmit() found sound, and its frame. Unless `later`, the packet's contents are used up.
    [[nodiscard]] virtual Sent send(NetPacket& packet) = 0;

    /// While paused the card neither sends nor receives, and the link's own clocks stand.
    virtual void pause() {}
    virtual void resume() {}
    /// The guest's network starts anew: frames in hand are dropped.
    virtual void forget() {}

    [[nodiscard]] const NetLinkCounters& counters() const { return counters_; }

protected:
    [[nodiscard]] NetLinkCounters& count() { return counters_; }

private:
    NetLinkCounters counters_;
};

}  // namespace penumbra::vmm
