// The addresses of a user network: 10.0.2.0/24, where guests of other VMMs find the same.
#pragma once

#include <netinet/in.h>

#include <cstdint>

namespace penumbra::vmm::user_network {

[[nodiscard]] constexpr in_addr address(std::uint32_t host_order) { return {__builtin_bswap32(host_order)}; }

inline constexpr in_addr network = address(0x0A00'0200);
inline constexpr in_addr mask = address(0xFFFF'FF00);
inline constexpr in_addr gateway = address(0x0A00'0202);      ///< the host, its loopback services included
inline constexpr in_addr name_server = address(0x0A00'0203);  ///< leads to the host's
inline constexpr in_addr guest = address(0x0A00'020F);        ///< the first that DHCP gives

}  // namespace penumbra::vmm::user_network
