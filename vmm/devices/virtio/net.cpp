#include "vmm/devices/virtio/net.hpp"

#include <fmt/format.h>

#include <array>
#include <cstddef>

#include "vmm/devices/net/net_format.hpp"
#include "vmm/devices/net/tap_link.hpp"
#include "vmm/devices/net/user_link.hpp"
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

NetDevice::~NetDevice() = default;

NetParts NetDevice::parts_for(unsigned number) {
    return {
        .queue = queue(number),
        .dma = dma(),
        .link = *link_,
        .counters = counters_,
        .loop = loop(),
        .running = [this] { return running(); },
        .features = [this] { return features(); },
        .want = [this](Gfn gfn, mmu::FaultAccess access, DmaClient::Then then) { want(gfn, access, std::move(then)); }};
}

void NetDevice::activated() { link_->use_features(features()); }

void NetDevice::take(unsigned from, Chain chain) {
    if (from == receive_queue) {
        receive_.take(std::move(chain));
    } else {
        transmit_.take(std::move(chain));
    }
}

/// The link itself never touches guest memory: nothing is in flight.
void NetDevice::quiesce(Done done) {
    link_->pause();
    done();
}

void NetDevice::resumed() {
    link_->resume();
    transmit_.go_on();
    receive_.go_on();
}

void NetDevice::forget() {
    receive_.forget();
    transmit_.forget();
    link_->forget();
    link_->use_features(0);
}

void NetDevice::link_down(std::string_view why) {
    constexpr std::array<std::byte, 2> nothing_up{};
    config().set(offsetof(NetConfigSpace, status), nothing_up);
    config_changed();
    link_trouble(why);
}

void NetDevice::link_trouble(std::string_view what) { troubles_.complain(fmt::format("{}: {}", name(), what)); }

}  // namespace penumbra::vmm
