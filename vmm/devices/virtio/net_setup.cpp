// Making a card of what the host's options name.
#include <fmt/format.h>

#include <utility>

#include "vmm/devices/net/tap_link.hpp"
#include "vmm/devices/net/user_link.hpp"
#include "vmm/devices/virtio/net.hpp"
#include "vmm/devices/virtio/net_config.hpp"

namespace penumbra::vmm {

namespace {

/// A tap's name is part of it: cards of several machines meet on one network.
MacAddress mac_for(const NetSetup& setup) {
    if (setup.net.mac) return *setup.net.mac;
    return derive_mac(fmt::format("{}/{}/{}", setup.identity, setup.name, setup.net.tap));
}

VirtioSpec spec_of(const NetSetup& setup, const NetLink& link) {
    VirtioSpec spec;
    spec.id = VirtioId::net;
    spec.name = setup.name;
    spec.features = net_features(link);
    // Any buffer is as good as another for what comes; what goes out keeps its order.
    spec.queues = {{.max_size = NetDevice::queue_size, .delivery = Delivery::as_ready},
                   {.max_size = NetDevice::queue_size, .delivery = Delivery::in_order}};
    spec.config = net_config(link, mac_for(setup));
    spec.on_trouble = setup.on_trouble;
    return spec;
}

}  // namespace

Result<std::unique_ptr<NetDevice>> NetDevice::create(const NetSetup& setup, DmaService& dma, IoLoop& loop) {
    std::unique_ptr<NetLink> link;
    if (setup.net.kind == NetKind::tap) {
        PENUMBRA_TRY_ASSIGN(link, TapLink::open(setup.net.tap, loop));
    } else {
        PENUMBRA_TRY_ASSIGN(link, UserLink::create(setup.net, loop));
    }
    return std::make_unique<NetDevice>(setup, std::move(link), dma, loop);
}

NetDevice::NetDevice(const NetSetup& setup, std::unique_ptr<NetLink> link, DmaService& dma, IoLoop& device_loop)
    : VirtioDevice(spec_of(setup, *link), dma, device_loop),
      mac_(mac_for(setup)),
      link_(std::move(link)),
      troubles_(setup.on_trouble),
      receive_(parts_for(receive_queue)),
      transmit_(parts_for(transmit_queue)) {
    link_->attach(*this);
}

}  // namespace penumbra::vmm
