// What may stand in a frame's header, and which frames may make the host open a socket.
#include "vmm/devices/net/net_headers.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "vmm/devices/net/net_format.hpp"
#include "vmm/devices/net/opens_socket.hpp"

namespace penumbra::vmm {
namespace {

constexpr std::size_t frame_bytes = 1000;
constexpr NetHeader checksum{.flags = NetHeader::needs_csum, .csum_start = 34, .csum_offset = 16};
constexpr NetHeader segments{.flags = NetHeader::needs_csum,
                             .gso_type = NetHeader::gso_tcp4,
                             .header_bytes = 54,
                             .gso_size = 100,
                             .csum_start = 34,
                             .csum_offset = 16};

bool sound(const NetHeader& header, std::uint64_t features, std::size_t bytes = frame_bytes) {
    return check_transmit(header, bytes, features) == HeaderCheck::sound;
}
NetHeader with(NetHeader header, auto change) {
    change(header);
    return header;
}

TEST(NetHeaders, EachFeatureAllowsItsOwn) {
    using namespace net_feature;
    EXPECT_TRUE(sound({}, 0));
    EXPECT_FALSE(sound(checksum, offloads & ~csum));
    EXPECT_TRUE(sound(checksum, csum));
    EXPECT_FALSE(sound(segments, csum | host_tso6));
    EXPECT_TRUE(sound(segments, csum | host_tso4));
    const NetHeader six = with(segments, [](NetHeader& header) { header.gso_type = NetHeader::gso_tcp6; });
    EXPECT_FALSE(sound(six, csum | host_tso4));
    EXPECT_TRUE(sound(six, csum | host_tso6));
    const NetHeader ecn = with(segments, [](NetHeader& header) { header.gso_type |= NetHeader::gso_ecn; });
    EXPECT_FALSE(sound(ecn, csum | host_tso4));
    EXPECT_TRUE(sound(ecn, csum | host_tso4 | host_ecn));
    for (unsigned type = 0; type < 256; ++type) {
        const NetHeader odd = with(segments, [&](NetHeader& header) { header.gso_type = static_cast<uint8_t>(type); });
        const bool known = (type & 0x7F) == 1 || (type & 0x7F) == 4;
        EXPECT_EQ(sound(odd, offloads), known || (type & 0x7F) == 0) << type;
        EXPECT_FALSE(sound(odd, offloads, 53) && known) << "the header is longer than the frame";
    }
}

TEST(NetHeaders, OffsetsLieInsideTheFrame) {
    using namespace net_feature;
    const auto at = [](std::uint16_t start, std::uint16_t offset) {
        return NetHeader{.flags = NetHeader::needs_csum, .csum_start = start, .csum_offset = offset};
    };
    EXPECT_TRUE(sound(at(900, 98), offloads));
    EXPECT_FALSE(sound(at(900, 99), offloads));
    EXPECT_FALSE(sound(at(0xFFFF, 0xFFFF), offloads));
    EXPECT_FALSE(sound(with(segments, [](NetHeader& header) { header.gso_size = 0; }), offloads));
    EXPECT_FALSE(sound(with(segments, [](NetHeader& header) { header.flags = 0; }), offloads));
    EXPECT_FALSE(sound(with(segments, [](NetHeader& header) { header.header_bytes = 1001; }), offloads));
    EXPECT_FALSE(sound({}, 0, ethernet_header_bytes - 1));
    EXPECT_FALSE(sound({}, 0, most_frame_bytes + 1));
}

TEST(NetHeaders, TheGuestSeesOnlyWhatItNegotiated) {
    using namespace net_feature;
    NetHeader header{.flags = NetHeader::data_valid};
    EXPECT_EQ(fit_receive(header, 0), HeaderCheck::sound);
    EXPECT_EQ(header.flags, 0);
    header.flags = NetHeader::data_valid;
    EXPECT_EQ(fit_receive(header, guest_csum), HeaderCheck::sound);
    EXPECT_EQ(header.flags, NetHeader::data_valid);
    header = checksum;
    EXPECT_EQ(fit_receive(header, csum), HeaderCheck::unsound);
    header = segments;
    EXPECT_EQ(fit_receive(header, guest_csum), HeaderCheck::unsound);
    EXPECT_EQ(fit_receive(header, guest_csum | guest_tso4), HeaderCheck::sound);
}

// ---- sockets ----

std::vector<std::byte> ip_frame(std::uint8_t protocol, std::uint8_t tcp_flags, std::size_t bytes = 60) {
    std::vector<std::byte> frame(60);
    frame[12] = std::byte{8};
    frame[14] = std::byte{0x45};
    frame[23] = std::byte{protocol};
    frame[14 + 20 + 13] = std::byte{tcp_flags};
    frame.resize(bytes);
    return frame;
}

TEST(OpensSocket, ByProtocolAndFlags) {
    EXPECT_TRUE(opens_socket(ip_frame(6, 2))) << "SYN";
    EXPECT_FALSE(opens_socket(ip_frame(6, 0x10))) << "ACK";
    EXPECT_FALSE(opens_socket(ip_frame(6, 0x11))) << "FIN";
    EXPECT_TRUE(opens_socket(ip_frame(17, 0)));
    EXPECT_TRUE(opens_socket(ip_frame(1, 0)));
    std::vector<std::byte> arp = ip_frame(17, 0);
    arp[13] = std::byte{6};
    EXPECT_FALSE(opens_socket(arp));
}

TEST(OpensSocket, DoubtIsAYes) {
    EXPECT_TRUE(opens_socket(ip_frame(6, 0x10, 47))) << "cut before the flags";
    std::vector<std::byte> fragment = ip_frame(6, 0x10);
    fragment[20] = std::byte{0x20};
    EXPECT_TRUE(opens_socket(fragment)) << "more fragments";
    std::vector<std::byte> options = ip_frame(6, 0x10);
    options[14] = std::byte{0x4F};
    EXPECT_TRUE(opens_socket(options)) << "the flags lie behind its end";
    for (std::size_t bytes = 0; bytes < 34; ++bytes) EXPECT_FALSE(opens_socket(ip_frame(6, 2, bytes)));
}

}  // namespace
}  // namespace penumbra::vmm
