// The user network with the real library and real sockets: the test is the guest on one side and a server on the other.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "tests/support/disk_image.hpp"
#include "tests/support/dma_loop.hpp"
#include "tests/support/fake_dma_machine.hpp"
#include "tests/support/net_bench.hpp"
#include "tests/support/net_guest.hpp"
#include "vmm/devices/net/user_link.hpp"

namespace penumbra::test {
namespace {

constexpr Ip4 gateway = 0x0A00'0202;
constexpr Ip4 guest_address = 0x0A00'020F;

sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}
/// A socket of this host on 127.0.0.1 whose calls give up after ten seconds.
struct HostSocket {
    explicit HostSocket(int type) : file(::socket(AF_INET, type | SOCK_CLOEXEC, 0)) {
        const timeval patience{.tv_sec = 10, .tv_usec = 0};
        ::setsockopt(file.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        sockaddr_in address = loopback(0);
        EXPECT_EQ(::bind(file.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
        socklen_t bytes = sizeof(address);
        EXPECT_EQ(::getsockname(file.get(), reinterpret_cast<sockaddr*>(&address), &bytes), 0);
        port = ntohs(address.sin_port);
    }
    UniqueFd file;
    std::uint16_t port = 0;
};

class NetUser : public testing::Test {
protected:
    void start(const std::string& options) {
        bench_.emplace(machine_, address_of(FakeDmaMachine::low_first),
                       [&](const vmm::NetSetup& setup, vmm::DmaService& dma, vmm::IoLoop& loop) {
                           vmm::NetSetup mine = setup;
                           mine.net = *vmm::parse_net_options(options);
                           auto made = vmm::NetDevice::create(mine, dma, loop);
                           if (!made) throw std::runtime_error(made.error().message());
                           return std::move(*made);
                       });
        ASSERT_TRUE(bench_->start());
        bench_->give_buffers(NetBench::slots);
        guest_.emplace(*bench_, guest_address);
    }
    [[nodiscard]] const vmm::NetCounters& counters() { return bench_->device().net_counters(); }

    FakeDmaMachine machine_;
    std::optional<NetBench> bench_;
    std::optional<NetGuest> guest_;
};

TEST_F(NetUser, GivesTheGuestItsAddresses) {
    start("user");
    const std::optional<NetGuest::Lease> lease = guest_->dhcp();
    ASSERT_TRUE(lease.has_value());
    EXPECT_EQ(lease->address, guest_address);
    EXPECT_EQ(lease->router, gateway);
    EXPECT_EQ(lease->name_server, 0x0A00'0203U);
    ASSERT_TRUE(guest_->resolve(gateway));
    EXPECT_TRUE(guest_->ping(gateway));
}

TEST_F(NetUser, DatagramsReachTheHostsLoopbackAndComeBack) {
    start("user");
    const HostSocket server(SOCK_DGRAM);
    ASSERT_TRUE(guest_->resolve(gateway));
    for (unsigned i = 0; i < 10; ++i) {
        const NetBytes question = pattern(i, 1 + 140 * i);
        ASSERT_TRUE(guest_->send_udp(5000, gateway, server.port, question));
        NetBytes got(2000);
        sockaddr_in peer{};
        socklen_t bytes = sizeof(peer);
        const ssize_t count =
            ::recvfrom(server.file.get(), got.data(), got.size(), 0, reinterpret_cast<sockaddr*>(&peer), &bytes);
        ASSERT_EQ(count, static_cast<ssize_t>(question.size()));
        got.resize(question.size());
        EXPECT_EQ(got, question);
        machine_.evict_all();
        ASSERT_EQ(::sendto(server.file.get(), got.data(), got.size(), 0, reinterpret_cast<sockaddr*>(&peer), bytes),
                  count);
        const std::optional<IpPacket> answer = guest_->receive(NetGuest::udp);
        ASSERT_TRUE(answer.has_value());
        EXPECT_EQ(answer->from, gateway);
        EXPECT_EQ(NetBytes(answer->payload.begin() + 8, answer->payload.end()), question);
    }
}

TEST_F(NetUser, ConnectionsCarryMoreThanAnyQueueHolds) {
    start("user");
    const HostSocket server(SOCK_STREAM);
    ASSERT_EQ(::listen(server.file.get(), 1), 0);
    ASSERT_TRUE(guest_->resolve(gateway));
    GuestTcp connection(*guest_, 4000, gateway, server.port);
    ASSERT_TRUE(connection.connect());
    const UniqueFd peer(::accept4(server.file.get(), nullptr, nullptr, SOCK_CLOEXEC));
    ASSERT_TRUE(peer);
    ASSERT_TRUE(connection.send(bytes_of("give me everything")));
    std::array<char, 64> question{};
    ASSERT_EQ(::recv(peer.get(), question.data(), question.size(), 0), 18);
    const NetBytes everything = pattern(3, 300'000);
    Thread writer("test-server", ThreadRole::foreign, [&] {
        EXPECT_EQ(::send(peer.get(), everything.data(), everything.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(everything.size()));
    });
    EXPECT_EQ(connection.receive(everything.size()), everything);
    writer.join();
}

TEST_F(NetUser, APeerThatGoesAwayEndsNothingButItsConnection) {
    start("user");
    const HostSocket server(SOCK_STREAM);
    ASSERT_EQ(::listen(server.file.get(), 1), 0);
    ASSERT_TRUE(guest_->resolve(gateway));
    GuestTcp connection(*guest_, 4001, gateway, server.port);
    ASSERT_TRUE(connection.connect());
    UniqueFd(::accept4(server.file.get(), nullptr, nullptr, SOCK_CLOEXEC)).reset();
    // All at once: the first makes the peer's kernel reset the connection, and the library writes the others all the
    // same. Without care that ends the process.
    bench_->gather_sends();
    for (unsigned i = 0; i < 10; ++i) ASSERT_TRUE(connection.send(pattern(i, 1000)));
    ASSERT_TRUE(bench_->send_gathered());
    EXPECT_TRUE(guest_->ping(gateway));
}

TEST_F(NetUser, AForwardLeadsToTheGuest) {
    std::uint16_t port = 0;
    {
        const HostSocket free_port(SOCK_STREAM);
        port = free_port.port;
    }
    start("user,hostfwd=tcp::" + std::to_string(port) + "-:22");
    ASSERT_TRUE(guest_->dhcp().has_value());
    ASSERT_TRUE(guest_->resolve(gateway));
    const HostSocket client(SOCK_STREAM);
    const sockaddr_in address = loopback(port);
    ASSERT_EQ(::connect(client.file.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    const std::optional<IpPacket> knock = guest_->receive(NetGuest::tcp);
    ASSERT_TRUE(knock.has_value());
    EXPECT_EQ(knock->to, guest_address);
    EXPECT_EQ(net_u16(knock->payload, 2), 22);
    EXPECT_EQ(std::to_integer<unsigned>(knock->payload[13]), 2U) << "SYN";
}

TEST_F(NetUser, AForwardFromATakenPortIsRefused) {
    const HostSocket taken(SOCK_STREAM);
    ASSERT_EQ(::listen(taken.file.get(), 1), 0);
    vmm::IoLoop loop("unused");
    const auto options = vmm::parse_net_options("user,hostfwd=tcp::" + std::to_string(taken.port) + "-:22");
    const auto link = vmm::UserLink::create(*options, loop);
    ASSERT_FALSE(link);
    const std::string line = link.error().message();
    EXPECT_NE(line.find("127.0.0.1:" + std::to_string(taken.port)), std::string::npos) << line;
    EXPECT_NE(line.find("in use"), std::string::npos) << line;
    EXPECT_NE(line.find("free port"), std::string::npos) << line;
}

TEST_F(NetUser, ARestrictedGuestReachesNobody) {
    start("user,restrict");
    const HostSocket server(SOCK_DGRAM);
    ASSERT_TRUE(guest_->resolve(gateway));
    ASSERT_TRUE(guest_->send_udp(5000, gateway, server.port, bytes_of("anybody?")));
    EXPECT_TRUE(guest_->ping(gateway)) << "the gateway itself answers, after everything before";
    char byte = 0;
    EXPECT_EQ(::recv(server.file.get(), &byte, 1, MSG_DONTWAIT), -1);
}

TEST_F(NetUser, APauseHoldsEverythingBack) {
    start("user");
    const HostSocket server(SOCK_DGRAM);
    ASSERT_TRUE(guest_->resolve(gateway));
    bench_->pause();
    const Gpa at = bench_->end();
    bench_->memory().put(at, vmm::NetHeader{});
    bench_->driver().submit(NetBench::tx, {device_reads(at, 60)});
    bench_->sync();
    EXPECT_FALSE(bench_->driver().queue(NetBench::tx).take().has_value());
    bench_->resume();
    EXPECT_TRUE(bench_->driver().wait(NetBench::tx).has_value());
    EXPECT_TRUE(guest_->ping(gateway));
}

TEST_F(NetUser, AFrameLongerThanTheNetworksIsLost) {
    start("user");
    ASSERT_TRUE(bench_->send({{}, NetBytes(1515)}));
    EXPECT_EQ(counters().sent_frames.get(), 0U);
    ASSERT_TRUE(guest_->resolve(gateway));
}

// ---- without a card ----

TEST(UserStack, AGuestOpensABoundedNumberOfSockets) {
    std::size_t frames = 0;
    auto made = vmm::UserStack::create({}, {[&](auto) { ++frames; }, [](auto) {}});
    ASSERT_TRUE(made);
    vmm::UserStack& stack = **made;
    const auto datagram = [](std::uint16_t from) {
        NetWriter frame;
        frame.zeroes(12).u16(0x0800).u16(0x4500).u16(20 + 8 + 1).u32(0x0001'4000).u8(64).u8(17);
        const NetBytes head =
            NetWriter().u16(0x4500).u16(29).u32(0x0001'4000).u16(0x4011).u32(guest_address).u32(gateway).take();
        frame.u16(static_cast<std::uint16_t>(~net_sum(head))).u32(guest_address).u32(gateway);
        return frame.u16(from).u16(9).u16(9).u16(0).u8('x').take();
    };
    unsigned refused = 0;
    for (std::uint16_t i = 0; i < 700; ++i) {
        if (stack.input(datagram(static_cast<std::uint16_t>(2000 + i))) == vmm::UserStack::Input::refused) ++refused;
    }
    EXPECT_EQ(stack.sockets(), vmm::UserStack::most_sockets);
    EXPECT_EQ(refused, 700 - vmm::UserStack::most_sockets);
}

}  // namespace
}  // namespace penumbra::test
