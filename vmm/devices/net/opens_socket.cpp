#include "vmm/devices/net/opens_socket.hpp"

#include <net/ethernet.h>
#include <netinet/in.h>

#include <cstdint>

namespace penumbra::vmm {

namespace {

// Where the fields stand: IEEE 802.3, RFC 791, RFC 9293.
constexpr std::size_t type_at = 12;
constexpr std::size_t ip_at = 14;
constexpr std::size_t fragment_at = ip_at + 6;
constexpr std::size_t protocol_at = ip_at + 9;
constexpr std::size_t least_ip_bytes = 20;
constexpr std::size_t tcp_flags_at = 13;
constexpr unsigned fragment_bits = 0x3FFF;  // an offset, or more to come
constexpr unsigned syn = 2;

}  // namespace

bool opens_socket(std::span<const std::byte> frame) {
    const auto byte = [&](std::size_t at) { return std::to_integer<unsigned>(frame[at]); };
    const auto word = [&](std::size_t at) { return byte(at) << 8 | byte(at + 1); };
    if (frame.size() < ip_at + least_ip_bytes || word(type_at) != ETHERTYPE_IP) return false;
    if ((word(fragment_at) & fragment_bits) != 0 || byte(protocol_at) != IPPROTO_TCP) return true;
    const std::size_t flags = ip_at + std::size_t{byte(ip_at) & 0xFU} * 4 + tcp_flags_at;
    return flags >= frame.size() || (byte(flags) & syn) != 0;
}

}  // namespace penumbra::vmm
