// What users write about a network card, and what their mistakes are answered with.
#include "vmm/devices/net/net_options.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <string>

namespace penumbra::vmm {
namespace {

std::string refusal(const std::string& text) {
    const auto options = parse_net_options(text);
    return options ? "accepted" : options.error().message();
}

TEST(NetOptions, AUserNetworkByItself) {
    const auto options = parse_net_options("user");
    ASSERT_TRUE(options);
    EXPECT_EQ(options->kind, NetKind::user);
    EXPECT_TRUE(options->forwards.empty());
    EXPECT_EQ(options->reach, NetReach::everywhere);
    EXPECT_FALSE(options->mac);
}

TEST(NetOptions, AUserNetworkWithEverything) {
    const auto options = parse_net_options(
        "user,hostfwd=tcp::2222-:22,hostfwd=udp:0.0.0.0:53-10.0.2.20:5353,restrict,mac=52:54:00:aB:cd:0f");
    ASSERT_TRUE(options) << options.error().message();
    ASSERT_EQ(options->forwards.size(), 2U);
    const NetForward& tcp = options->forwards[0];
    EXPECT_EQ(tcp.protocol, ForwardProtocol::tcp);
    EXPECT_EQ(ntohl(tcp.host.s_addr), INADDR_LOOPBACK) << "by itself nobody else reaches the guest";
    EXPECT_EQ(tcp.host_port, 2222);
    EXPECT_EQ(ntohl(tcp.guest.s_addr), 0x0A00'020FU);
    EXPECT_EQ(tcp.guest_port, 22);
    const NetForward& udp = options->forwards[1];
    EXPECT_EQ(udp.protocol, ForwardProtocol::udp);
    EXPECT_EQ(udp.host.s_addr, INADDR_ANY);
    EXPECT_EQ(ntohl(udp.guest.s_addr), 0x0A00'0214U);
    EXPECT_EQ(options->reach, NetReach::nowhere);
    EXPECT_EQ(to_text(*options->mac), "52:54:00:ab:cd:0f");
}

TEST(NetOptions, ATap) {
    const auto options = parse_net_options("tap:guest-0,mac=02:00:00:00:00:01");
    ASSERT_TRUE(options);
    EXPECT_EQ(options->kind, NetKind::tap);
    EXPECT_EQ(options->tap, "guest-0");
    EXPECT_TRUE(options->mac);
}

TEST(NetOptions, RefusesWithACure) {
    EXPECT_NE(refusal("").find("user or tap:NAME"), std::string::npos) << refusal("");
    EXPECT_NE(refusal("bridge").find("user or tap:NAME"), std::string::npos);
    EXPECT_NE(refusal("tap:").find("no name of an interface"), std::string::npos);
    EXPECT_NE(refusal("tap:a/b").find("no name of an interface"), std::string::npos);
    EXPECT_NE(refusal("tap:tap%d").find("no name of an interface"), std::string::npos);
    EXPECT_NE(refusal("tap:sixteen-letters-").find("no name of an interface"), std::string::npos);
    EXPECT_NE(refusal("tap:t0,restrict").find("unknown 'restrict'"), std::string::npos);
    EXPECT_NE(refusal("user,").find("unknown ''"), std::string::npos);
    EXPECT_NE(refusal("user,vhost").find("the known words are hostfwd="), std::string::npos);
}

TEST(NetOptions, RefusesForwardsThatLeadNowhere) {
    for (const char* each : {"", "tcp", "tcp::22", "tcp::-:22", "tcp::22-:", "tcp::22-:0", "tcp::70000-:22",
                             "sctp::22-:22", "tcp:host:22-:22", "tcp::22-:22x", "tcp:1.2.3:22-:22", "tcp:22-22"}) {
        EXPECT_NE(refusal(std::string("user,hostfwd=") + each).find("is no forward"), std::string::npos) << each;
    }
}

TEST(NetOptions, RefusesAddressesThatAreNoCards) {
    for (const char* each : {"", "52:54:00:12:34", "52:54:00:12:34:5", "52-54-00-12-34-56", "52:54:00:12:34:5g",
                             "53:54:00:12:34:56", "00:00:00:00:00:00", "52:54:00:12:34:56:78", "+2:54:00:12:34:56"}) {
        EXPECT_NE(refusal(std::string("user,mac=") + each).find("Ethernet address"), std::string::npos) << each;
    }
}

TEST(NetOptions, DerivedAddressesAreStableAndTheirOwn) {
    const MacAddress one = derive_mac("vm/net0/tap0");
    EXPECT_EQ(one, derive_mac("vm/net0/tap0"));
    EXPECT_NE(one, derive_mac("vm/net0/tap1"));
    for (int i = 0; i < 100; ++i) EXPECT_EQ(derive_mac(std::to_string(i))[0] & 3, 2);
    EXPECT_TRUE(parse_mac(to_text(one)));
}

}  // namespace
}  // namespace penumbra::vmm
