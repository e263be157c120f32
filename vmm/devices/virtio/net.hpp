// A virtio network card (virtio 1.2, 5.1) with one pair of queues. Frames are copied once between guest memory and the
// link's buffers; a page that is swapped out holds up what must stay in order behind it, and neither its loop nor the
// other direction.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vmm/devices/net/net_link.hpp"
#include "vmm/devices/net/net_options.hpp"
#include "vmm/devices/virtio/net_counters.hpp"
#include "vmm/devices/virtio/net_receive.hpp"
#include "vmm/devices/virtio/net_transmit.hpp"
#include "vmm/devices/virtio/trouble_log.hpp"
#include "vmm/devices/virtio/virtio_device.hpp"

namespace penumbra::vmm {

struct NetSetup {
    NetOptions net;
    std::string name;                                  ///< for messages: "net0"
    std::string identity;                              ///< of the machine; with `net` and `name` it makes the address
    std::function<void(std::string_view)> on_trouble;  ///< one line for people, rate-limited; on the loop
};

/// Threads: see VirtioDevice.
class NetDevice final : public VirtioDevice, private NetLinkEvents {
public:
    static constexpr unsigned receive_queue = 0;
    static constexpr unsigned transmit_queue = 1;
    static constexpr std::uint16_t queue_size = 256;

    /// Makes what the options name. Errors name it, the cause and the cure.
    [[nodiscard]] static Result<std::unique_ptr<NetDevice>> create(const NetSetup& setup, DmaService& dma,
                                                                   IoLoop& loop);
    NetDevice(const NetSetup& setup, std::unique_ptr<NetLink> link, DmaService& dma, IoLoop& loop);
    ~NetDevice() override;

    [[nodiscard]] const MacAddress& mac() const { return mac_; }
    [[nodiscard]] const NetCounters& net_counters() const { return counters_; }
    [[nodiscard]] std::vector<std::pair<std::string_view, std::uint64_t>> named_counters() const {
        return counters_.named(link_->counters());
    }

private:
    // ---- VirtioDevice ----
    void activated() override;
    void take(unsigned queue, Chain chain) override;
    void quiesce(Done done) override;
    void resumed() override;
    void forget() override;

    // ---- NetLinkEvents ----
    void can_receive() override { receive_.can_receive(); }
    void can_send() override { transmit_.can_send(); }
    void link_down(std::string_view why) override;
    void link_trouble(std::string_view what) override;

    [[nodiscard]] NetParts parts_for(unsigned queue);

    const MacAddress mac_;
    const std::unique_ptr<NetLink> link_;
    NetCounters counters_;
    TroubleLog troubles_;
    NetReceive receive_;
    NetTransmit transmit_;
};

}  // namespace penumbra::vmm
