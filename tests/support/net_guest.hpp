// A guest's network stack, as little of it as tests need: ARP, DHCP, echo requests, UDP, and TCP where nothing is lost.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/net_bench.hpp"

namespace penumbra::test {

using NetBytes = std::vector<std::byte>;
/// Host order.
using Ip4 = std::uint32_t;

/// Numbers as networks write them.
class NetWriter {
public:
    NetWriter& u8(unsigned value);
    NetWriter& u16(unsigned value);
    NetWriter& u32(std::uint32_t value);
    NetWriter& bytes(std::span<const std::byte> more);
    NetWriter& zeroes(std::size_t count);
    [[nodiscard]] NetBytes take() { return std::move(bytes_); }

private:
    NetBytes bytes_;
};
[[nodiscard]] std::uint16_t net_u16(std::span<const std::byte> bytes, std::size_t at);
[[nodiscard]] std::uint32_t net_u32(std::span<const std::byte> bytes, std::size_t at);
/// The Internet checksum's sum, folded and not complemented.
[[nodiscard]] std::uint16_t net_sum(std::span<const std::byte> bytes, std::uint32_t before = 0);
[[nodiscard]] NetBytes bytes_of(std::string_view text);

struct IpPacket {
    Ip4 from = 0;
    Ip4 to = 0;
    std::uint8_t protocol = 0;
    NetBytes payload;
    vmm::NetHeader header;
};

/// One thread. The bench is started and has buffers.
class NetGuest {
public:
    static constexpr std::uint8_t icmp = 1;
    static constexpr std::uint8_t tcp = 6;
    static constexpr std::uint8_t udp = 17;
    enum class Checksum : std::uint8_t { full, left_to_host };

    NetGuest(NetBench& bench, Ip4 address) : bench_(bench), address_(address) {}

    /// Asks who has the peer's address, which is where everything goes from then on. False: nobody answered.
    [[nodiscard]] bool resolve(Ip4 peer);
    struct Lease {
        Ip4 address = 0;
        Ip4 router = 0;
        Ip4 name_server = 0;
    };
    /// Discover, offer, request, acknowledgement; the address is this guest's from then on.
    [[nodiscard]] std::optional<Lease> dhcp();
    /// True: the same echo came back.
    [[nodiscard]] bool ping(Ip4 peer);
    [[nodiscard]] bool send_udp(std::uint16_t from, Ip4 to, std::uint16_t port, std::span<const std::byte> data,
                                Checksum checksum = Checksum::full);
    [[nodiscard]] bool send_ip(std::uint8_t protocol, Ip4 to, NetBytes payload, const vmm::NetHeader& header = {});
    /// The next packet of the protocol; requests for this guest's address are answered, the rest is ignored.
    [[nodiscard]] std::optional<IpPacket> receive(std::uint8_t protocol);

    [[nodiscard]] Ip4 address() const { return address_; }
    /// Of the pseudo header.
    [[nodiscard]] std::uint16_t pseudo_sum(std::uint8_t protocol, Ip4 to, std::size_t bytes) const;

private:
    [[nodiscard]] bool send_ethernet(std::uint16_t type, NetBytes payload, const vmm::NetHeader& header = {});
    [[nodiscard]] bool send_arp(unsigned operation, const vmm::MacAddress& mac, Ip4 peer);
    void answer_arp(const NetBytes& frame);
    [[nodiscard]] bool send_dhcp(unsigned type, Ip4 wanted);

    NetBench& bench_;
    Ip4 address_;
    vmm::MacAddress peer_{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
};

/// A connection that the guest opens.
class GuestTcp {
public:
    GuestTcp(NetGuest& guest, std::uint16_t from, Ip4 to, std::uint16_t port)
        : guest_(guest), from_(from), to_(to), port_(port) {}

    [[nodiscard]] bool connect();
    /// With `segment` the host has to cut the data into such pieces.
    [[nodiscard]] bool send(std::span<const std::byte> data, std::uint16_t segment = 0);
    /// As many bytes as asked for, or what came before ten seconds without a packet.
    [[nodiscard]] NetBytes receive(std::size_t bytes);
    /// The longest segment that came.
    [[nodiscard]] std::size_t longest() const { return longest_; }
    [[nodiscard]] bool reset_by_peer() const { return reset_; }

private:
    static constexpr unsigned syn = 2;
    static constexpr unsigned rst = 4;
    static constexpr unsigned ack = 16;

    [[nodiscard]] bool put(unsigned flags, std::span<const std::byte> data = {}, std::uint16_t segment = 0);
    [[nodiscard]] std::optional<IpPacket> next();

    NetGuest& guest_;
    const std::uint16_t from_;
    const Ip4 to_;
    const std::uint16_t port_;
    std::uint32_t next_ = 1000;
    std::uint32_t expected_ = 0;
    std::size_t longest_ = 0;
    bool reset_ = false;
};

}  // namespace penumbra::test
