#include <algorithm>
#include <utility>

#include "tests/support/net_guest.hpp"

namespace penumbra::test {

namespace {

constexpr std::uint16_t window = 32768;
constexpr std::uint16_t largest_segment = 1460;

}  // namespace

bool GuestTcp::put(unsigned flags, std::span<const std::byte> data, std::uint16_t segment) {
    const bool opens = (flags & syn) != 0;
    const std::size_t header_bytes = opens ? 24 : 20;
    const auto message = [&](std::uint16_t checksum) {
        NetWriter writer;
        writer.u16(from_).u16(port_).u32(next_).u32(expected_);
        writer.u8(static_cast<unsigned>(header_bytes / 4) << 4).u8(flags).u16(window).u16(checksum).u16(0);
        if (opens) writer.u8(2).u8(4).u16(largest_segment);
        return writer.bytes(data).take();
    };
    const std::uint16_t pseudo = guest_.pseudo_sum(NetGuest::tcp, to_, header_bytes + data.size());
    vmm::NetHeader header;
    std::uint16_t checksum = 0;
    if (segment == 0) {
        checksum = static_cast<std::uint16_t>(~net_sum(message(0), pseudo));
    } else {
        checksum = pseudo;
        header = {.flags = vmm::NetHeader::needs_csum,
                  .gso_type = vmm::NetHeader::gso_tcp4,
                  .header_bytes = static_cast<std::uint16_t>(34 + header_bytes),
                  .gso_size = segment,
                  .csum_start = 34,
                  .csum_offset = 16};
    }
    const bool sent = guest_.send_ip(NetGuest::tcp, to_, message(checksum), header);
    next_ += static_cast<std::uint32_t>(data.size()) + (opens ? 1 : 0);
    return sent;
}

std::optional<IpPacket> GuestTcp::next() {
    for (;;) {
        std::optional<IpPacket> packet = guest_.receive(NetGuest::tcp);
        if (!packet) return std::nullopt;
        if (net_u16(packet->payload, 0) != port_ || net_u16(packet->payload, 2) != from_) continue;
        if ((std::to_integer<unsigned>(packet->payload[13]) & rst) != 0) reset_ = true;
        return packet;
    }
}

bool GuestTcp::connect() {
    if (!put(syn)) return false;
    const std::optional<IpPacket> answer = next();
    if (!answer || reset_ || (std::to_integer<unsigned>(answer->payload[13]) & syn) == 0) return false;
    expected_ = net_u32(answer->payload, 4) + 1;
    return put(ack);
}

bool GuestTcp::send(std::span<const std::byte> data, std::uint16_t segment) { return put(ack, data, segment); }

NetBytes GuestTcp::receive(std::size_t bytes) {
    NetBytes received;
    while (received.size() < bytes && !reset_) {
        const std::optional<IpPacket> packet = next();
        if (!packet) break;
        const std::size_t header = (std::to_integer<std::size_t>(packet->payload[12]) >> 4) * 4;
        const auto data = std::span(packet->payload).subspan(header);
        if (data.empty() || net_u32(packet->payload, 4) != expected_) continue;
        longest_ = std::max(longest_, data.size());
        expected_ += static_cast<std::uint32_t>(data.size());
        received.insert(received.end(), data.begin(), data.end());
        if (!put(ack)) break;
    }
    return received;
}

}  // namespace penumbra::test
