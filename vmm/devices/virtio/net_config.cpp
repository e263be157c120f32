#include "vmm/devices/virtio/net_config.hpp"

#include <cstring>

#include "vmm/devices/net/net_format.hpp"

namespace penumbra::vmm {

namespace {

/// The least that a device may offer (5.1.4.1).
constexpr std::uint16_t least_mtu = 68;

bool tells_mtu(const NetLink& link) { return link.mtu() >= least_mtu; }

}  // namespace

std::uint64_t net_features(const NetLink& link) {
    const std::uint64_t always = net_feature::mac | net_feature::status | net_feature::merge_buffers;
    return always | link.offload_features() | (tells_mtu(link) ? net_feature::mtu : 0);
}

std::vector<std::byte> net_config(const NetLink& link, const MacAddress& mac) {
    NetConfigSpace config;
    config.mac = mac;
    config.status = NetConfigSpace::link_up;
    if (tells_mtu(link)) config.mtu = link.mtu();
    std::vector<std::byte> bytes(sizeof(config));
    std::memcpy(bytes.data(), &config, sizeof(config));
    return bytes;
}

}  // namespace penumbra::vmm
