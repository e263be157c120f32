#include "vmm/devices/virtio/net.hpp"

#include <fmt/format.h>

#include <array>
#include <cstddef>

#include "vmm/devices/net/net_format.hpp"

namespace penumbra::vmm {

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
