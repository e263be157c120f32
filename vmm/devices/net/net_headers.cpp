#include "vmm/devices/net/net_headers.hpp"

#include "vmm/devices/net/net_format.hpp"

namespace penumbra::vmm {

namespace {

struct Direction {
    std::uint64_t csum;
    std::uint64_t tso4;
    std::uint64_t tso6;
    std::uint64_t ecn;
};
constexpr Direction from_guest{net_feature::csum, net_feature::host_tso4, net_feature::host_tso6,
                               net_feature::host_ecn};
constexpr Direction to_guest{net_feature::guest_csum, net_feature::guest_tso4, net_feature::guest_tso6,
                             net_feature::guest_ecn};

/// The features without which nobody may ask for this; all bits for what is never offered.
std::uint64_t needed(const NetHeader& header, const Direction& direction) {
    std::uint64_t features = (header.flags & NetHeader::needs_csum) != 0 ? direction.csum : 0;
    if ((header.gso_type & NetHeader::gso_ecn) != 0) features |= direction.ecn;
    switch (header.gso_type & ~NetHeader::gso_ecn) {
        case NetHeader::gso_none:
            return features;
        case NetHeader::gso_tcp4:
            return features | direction.csum | direction.tso4;
        case NetHeader::gso_tcp6:
            return features | direction.csum | direction.tso6;
        default:
            return ~std::uint64_t{0};
    }
}

}  // namespace

HeaderCheck check_transmit(const NetHeader& header, std::size_t frame_bytes, std::uint64_t features) {
    if (frame_bytes < ethernet_header_bytes || frame_bytes > most_frame_bytes) return HeaderCheck::unsound;
    if ((needed(header, from_guest) & ~features) != 0) return HeaderCheck::unsound;
    const bool checksum = (header.flags & NetHeader::needs_csum) != 0;
    if (checksum && std::size_t{header.csum_start} + header.csum_offset + 2 > frame_bytes) return HeaderCheck::unsound;
    if (header.gso_type == NetHeader::gso_none) return HeaderCheck::sound;
    const bool segments = checksum && header.gso_size > 0 && header.header_bytes <= frame_bytes;
    return segments ? HeaderCheck::sound : HeaderCheck::unsound;
}

HeaderCheck fit_receive(NetHeader& header, std::uint64_t features) {
    if ((needed(header, to_guest) & ~features) != 0) return HeaderCheck::unsound;
    if ((features & net_feature::guest_csum) == 0) header.flags = 0;
    return HeaderCheck::sound;
}

}  // namespace penumbra::vmm
