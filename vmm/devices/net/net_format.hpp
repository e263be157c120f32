// What virtio-net puts into memory: feature bits, the header of a frame, the configuration space (Virtual I/O Device
// 1.2, 5.1.3, 5.1.4 and 5.1.6). The kernel's header for it is not C++.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace penumbra::vmm {

namespace net_feature {

[[nodiscard]] constexpr std::uint64_t bit(unsigned number) { return std::uint64_t{1} << number; }

inline constexpr std::uint64_t mtu = bit(3);
inline constexpr std::uint64_t mac = bit(5);
inline constexpr std::uint64_t merge_buffers = bit(15);
inline constexpr std::uint64_t status = bit(16);

// What the guest may leave to the host.
inline constexpr std::uint64_t csum = bit(0);
inline constexpr std::uint64_t host_tso4 = bit(11);
inline constexpr std::uint64_t host_tso6 = bit(12);
inline constexpr std::uint64_t host_ecn = bit(13);
// What the host may leave to the guest.
inline constexpr std::uint64_t guest_csum = bit(1);
inline constexpr std::uint64_t guest_tso4 = bit(7);
inline constexpr std::uint64_t guest_tso6 = bit(8);
inline constexpr std::uint64_t guest_ecn = bit(9);

inline constexpr std::uint64_t offloads =
    csum | host_tso4 | host_tso6 | host_ecn | guest_csum | guest_tso4 | guest_tso6 | guest_ecn;

}  // namespace net_feature

/// struct virtio_net_hdr as a modern device always has it. Little-endian.
struct NetHeader {
    static constexpr std::uint8_t needs_csum = 1;  ///< of `flags`
    static constexpr std::uint8_t data_valid = 2;

    static constexpr std::uint8_t gso_none = 0;  ///< of `gso_type`
    static constexpr std::uint8_t gso_tcp4 = 1;
    static constexpr std::uint8_t gso_tcp6 = 4;
    static constexpr std::uint8_t gso_ecn = 0x80;  ///< beside another

    std::uint8_t flags = 0;
    std::uint8_t gso_type = gso_none;
    std::uint16_t header_bytes = 0;  ///< of each segment
    std::uint16_t gso_size = 0;
    std::uint16_t csum_start = 0;
    std::uint16_t csum_offset = 0;
    std::uint16_t num_buffers = 0;
};
inline constexpr std::size_t net_header_bytes = 12;
static_assert(sizeof(NetHeader) == net_header_bytes);

/// struct virtio_net_config up to the last field that is offered. Little-endian.
struct NetConfigSpace {
    static constexpr std::uint16_t link_up = 1;  ///< of `status`

    std::array<std::uint8_t, 6> mac{};
    std::uint16_t status = 0;
    std::uint16_t max_queue_pairs = 0;
    std::uint16_t mtu = 0;
};
static_assert(sizeof(NetConfigSpace) == 12);

}  // namespace penumbra::vmm
