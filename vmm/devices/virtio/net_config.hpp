// What a network card tells its driver: features and configuration space (Virtual I/O Device 1.2, 5.1.3 and 5.1.4).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "vmm/devices/net/mac_address.hpp"
#include "vmm/devices/net/net_link.hpp"

namespace penumbra::vmm {

[[nodiscard]] std::uint64_t net_features(const NetLink& link);
/// The space's bytes, with the link up.
[[nodiscard]] std::vector<std::byte> net_config(const NetLink& link, const MacAddress& mac);

}  // namespace penumbra::vmm
