#include "tests/support/net_guest.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace penumbra::test {

namespace {

constexpr std::uint16_t type_ip = 0x0800;
constexpr std::uint16_t type_arp = 0x0806;
constexpr std::size_t ethernet_bytes = 14;
constexpr std::size_t ip_bytes = 20;
constexpr vmm::MacAddress everybody{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
constexpr unsigned frames_looked_at = 1000;

std::span<const std::byte> span_of(const vmm::MacAddress& mac) { return std::as_bytes(std::span(mac)); }

vmm::MacAddress mac_at(const NetBytes& bytes, std::size_t at) {
    vmm::MacAddress mac{};
    for (std::size_t i = 0; i < mac.size(); ++i) mac[i] = std::to_integer<std::uint8_t>(bytes[at + i]);
    return mac;
}

}  // namespace

// ---- bytes ----

NetWriter& NetWriter::u8(unsigned value) {
    bytes_.push_back(static_cast<std::byte>(value));
    return *this;
}
NetWriter& NetWriter::u16(unsigned value) { return u8(value >> 8).u8(value & 0xFF); }
NetWriter& NetWriter::u32(std::uint32_t value) { return u16(value >> 16).u16(value & 0xFFFF); }
NetWriter& NetWriter::bytes(std::span<const std::byte> more) {
    bytes_.insert(bytes_.end(), more.begin(), more.end());
    return *this;
}
NetWriter& NetWriter::zeroes(std::size_t count) {
    bytes_.resize(bytes_.size() + count);
    return *this;
}

std::uint16_t net_u16(std::span<const std::byte> bytes, std::size_t at) {
    return static_cast<std::uint16_t>(std::to_integer<unsigned>(bytes[at]) << 8 |
                                      std::to_integer<unsigned>(bytes[at + 1]));
}
std::uint32_t net_u32(std::span<const std::byte> bytes, std::size_t at) {
    return std::uint32_t{net_u16(bytes, at)} << 16 | net_u16(bytes, at + 2);
}

std::uint16_t net_sum(std::span<const std::byte> bytes, std::uint32_t before) {
    std::uint32_t sum = before;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        sum += std::to_integer<std::uint32_t>(bytes[i]) << (i % 2 == 0 ? 8 : 0);
    }
    while (sum > 0xFFFF) sum = (sum & 0xFFFF) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
}

NetBytes bytes_of(std::string_view text) {
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
}

// ---- Ethernet and IP ----

bool NetGuest::send_ethernet(std::uint16_t type, NetBytes payload, const vmm::NetHeader& header) {
    const vmm::MacAddress mine = bench_.device().mac();
    return bench_.send(
        {header, NetWriter().bytes(span_of(peer_)).bytes(span_of(mine)).u16(type).bytes(payload).take()});
}

bool NetGuest::send_arp(unsigned operation, const vmm::MacAddress& mac, Ip4 peer) {
    NetWriter packet;
    packet.u16(1).u16(type_ip).u8(6).u8(4).u16(operation);
    packet.bytes(span_of(bench_.device().mac())).u32(address_).bytes(span_of(mac)).u32(peer);
    return send_ethernet(type_arp, packet.take());
}

void NetGuest::answer_arp(const NetBytes& frame) {
    constexpr unsigned request = 1;
    if (net_u16(frame, 20) != request || net_u32(frame, 38) != address_) return;
    peer_ = mac_at(frame, 22);
    (void)send_arp(2, peer_, net_u32(frame, 28));
}

bool NetGuest::resolve(Ip4 peer) {
    using namespace std::chrono_literals;
    // A host's interface sends nothing before its kernel has noticed that somebody has attached: asked again, as guests
    // do.
    const auto until = std::chrono::steady_clock::now() + 10s;
    while (std::chrono::steady_clock::now() < until) {
        peer_ = everybody;
        if (!send_arp(1, {}, peer)) return false;
        while (const std::optional<Frame> frame = bench_.receive(200ms)) {
            if (net_u16(frame->bytes, 12) != type_arp || net_u16(frame->bytes, 20) != 2) continue;
            if (net_u32(frame->bytes, 28) != peer) continue;
            peer_ = mac_at(frame->bytes, 22);
            return true;
        }
    }
    return false;
}

bool NetGuest::send_ip(std::uint8_t protocol, Ip4 to, NetBytes payload, const vmm::NetHeader& header) {
    const auto total = static_cast<unsigned>(ip_bytes + payload.size());
    const auto head = [&](unsigned checksum) {
        return NetWriter()
            .u16(0x4500)
            .u16(total)
            .u32(0x0001'4000)
            .u8(64)
            .u8(protocol)
            .u16(checksum)
            .u32(address_)
            .u32(to);
    };
    const std::uint16_t sum = net_sum(head(0).take());
    return send_ethernet(type_ip, head(static_cast<std::uint16_t>(~sum)).bytes(payload).take(), header);
}

std::optional<IpPacket> NetGuest::receive(std::uint8_t protocol) {
    for (unsigned i = 0; i < frames_looked_at; ++i) {
        const std::optional<Frame> frame = bench_.receive();
        if (!frame) return std::nullopt;
        const NetBytes& bytes = frame->bytes;
        if (net_u16(bytes, 12) == type_arp) answer_arp(bytes);
        if (net_u16(bytes, 12) != type_ip || bytes[ethernet_bytes + 9] != std::byte{protocol}) continue;
        const std::size_t begin = ethernet_bytes + (std::to_integer<std::size_t>(bytes[ethernet_bytes]) & 15) * 4;
        const std::size_t end = ethernet_bytes + net_u16(bytes, ethernet_bytes + 2);  // padding may follow
        IpPacket packet{net_u32(bytes, 26), net_u32(bytes, 30), protocol, {}, frame->header};
        packet.payload.assign(bytes.begin() + static_cast<std::ptrdiff_t>(begin),
                              bytes.begin() + static_cast<std::ptrdiff_t>(std::min(end, bytes.size())));
        return packet;
    }
    return std::nullopt;
}

std::uint16_t NetGuest::pseudo_sum(std::uint8_t protocol, Ip4 to, std::size_t bytes) const {
    return net_sum(NetWriter().u32(address_).u32(to).u16(protocol).u16(static_cast<unsigned>(bytes)).take());
}

// ---- what guests do ----

bool NetGuest::ping(Ip4 peer) {
    const auto message = [](unsigned type, unsigned checksum) {
        return NetWriter().u8(type).u8(0).u16(checksum).u32(0x1234'0001).bytes(bytes_of("are you there?")).take();
    };
    const std::uint16_t sum = net_sum(message(8, 0));
    if (!send_ip(icmp, peer, message(8, static_cast<std::uint16_t>(~sum)))) return false;
    const std::optional<IpPacket> answer = receive(icmp);
    if (!answer || answer->from != peer || answer->payload.empty()) return false;
    return answer->payload == message(0, static_cast<std::uint16_t>(~net_sum(message(0, 0))));
}

bool NetGuest::send_udp(std::uint16_t from, Ip4 to, std::uint16_t port, std::span<const std::byte> data,
                        Checksum checksum) {
    const auto total = static_cast<unsigned>(8 + data.size());
    // 0 is none; for the host to complete it begins with the pseudo header's.
    const bool leave = checksum == Checksum::left_to_host;
    const unsigned begun = leave ? pseudo_sum(udp, to, total) : 0;
    vmm::NetHeader header;
    if (leave) header = {.flags = vmm::NetHeader::needs_csum, .csum_start = 34, .csum_offset = 6};
    return send_ip(udp, to, NetWriter().u16(from).u16(port).u16(total).u16(begun).bytes(data).take(), header);
}

bool NetGuest::send_dhcp(unsigned type, Ip4 wanted) {
    NetWriter message;
    message.u32(0x0101'0600).u32(0xFEED'0001).u32(0).u32(0).u32(0).u32(0).u32(0);
    message.bytes(span_of(bench_.device().mac())).zeroes(10 + 64 + 128).u32(0x6382'5363);
    message.u8(53).u8(1).u8(type);
    if (wanted != 0) message.u8(50).u8(4).u32(wanted);
    message.u8(255).zeroes(60);
    return send_udp(68, 0xFFFF'FFFF, 67, message.take());
}

std::optional<NetGuest::Lease> NetGuest::dhcp() {
    constexpr std::size_t options_at = 8 + 240;
    constexpr unsigned discover = 1;
    constexpr unsigned request = 3;
    address_ = 0;
    Lease lease;
    for (const unsigned type : {discover, request}) {
        if (!send_dhcp(type, lease.address)) return std::nullopt;
        const std::optional<IpPacket> answer = receive(udp);
        if (!answer || answer->payload.size() < options_at) return std::nullopt;
        const NetBytes& message = answer->payload;
        lease.address = net_u32(message, 8 + 16);
        unsigned answered = 0;
        for (std::size_t at = options_at; at + 2 < message.size() && message[at] != std::byte{255};) {
            const auto option = std::to_integer<unsigned>(message[at]);
            if (option == 53) answered = std::to_integer<unsigned>(message[at + 2]);
            if (option == 3) lease.router = net_u32(message, at + 2);
            if (option == 6) lease.name_server = net_u32(message, at + 2);
            at += 2 + std::to_integer<std::size_t>(message[at + 1]);
        }
        if (answered != (type == discover ? 2U : 5U)) return std::nullopt;
    }
    address_ = lease.address;
    return lease;
}

}  // namespace penumbra::test
