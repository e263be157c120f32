// Tap interfaces of the real kernel, each test in a network namespace of its own: the kernel's stack is the peer.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "tests/support/disk_image.hpp"
#include "tests/support/dma_loop.hpp"
#include "tests/support/fake_dma_machine.hpp"
#include "tests/support/net_bench.hpp"
#include "tests/support/net_guest.hpp"
#include "vmm/devices/net/tap_link.hpp"
#include "vmm/devices/net/tap_open.hpp"

namespace penumbra::test {
namespace {

constexpr Ip4 host_address = 0x0A07'0001;
constexpr Ip4 guest_address = 0x0A07'0002;
constexpr const char* tap_name = "tap-test";

ifreq request_for(const char* name) {
    ifreq request{};
    std::strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    return request;
}

enum class Persist : std::uint8_t { yes, no };

/// Makes an interface as `ip tuntap add` does; invalid where that is not allowed.
UniqueFd make_interface(const char* name, short flags, Persist persist) {
    UniqueFd file(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
    ifreq request = request_for(name);
    request.ifr_flags = static_cast<short>(flags | IFF_NO_PI);
    if (!file || ::ioctl(file.get(), TUNSETIFF, &request) != 0) return {};
    if (::ioctl(file.get(), TUNSETPERSIST, persist == Persist::yes ? 1 : 0) != 0) return {};
    return file;
}

[[nodiscard]] bool set_up(const char* name, bool up) {
    const UniqueFd control(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request = request_for(name);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(host_address);
    std::memcpy(&request.ifr_addr, &address, sizeof(address));
    if (::ioctl(control.get(), SIOCSIFADDR, &request) != 0) return false;
    request = request_for(name);
    request.ifr_flags = static_cast<short>(up ? IFF_UP | IFF_RUNNING : 0);
    return ::ioctl(control.get(), SIOCSIFFLAGS, &request) == 0;
}

/// Of the calling thread only.
void give_up_network_privileges() {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> sets{};
    ASSERT_EQ(::syscall(SYS_capget, &header, sets.data()), 0);
    sets[CAP_TO_INDEX(CAP_NET_ADMIN)].effective &= ~CAP_TO_MASK(CAP_NET_ADMIN);
    ASSERT_EQ(::syscall(SYS_capset, &header, sets.data()), 0);
}

/// As `ip link del` does.
[[nodiscard]] bool remove_interface(const char* name) {
    struct {
        nlmsghdr head{};
        ifinfomsg link{};
    } message;
    message.head.nlmsg_len = sizeof(message);
    message.head.nlmsg_type = RTM_DELLINK;
    message.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    message.link.ifi_index = static_cast<int>(::if_nametoindex(name));
    const UniqueFd control(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    std::array<char, 512> answer{};
    return ::send(control.get(), &message, sizeof(message), 0) == sizeof(message) &&
           ::recv(control.get(), answer.data(), answer.size(), 0) > 0 && ::if_nametoindex(name) == 0;
}

/// Runs a test's body on a thread with a network of its own, which ends with it.
class NetTap : public testing::Test {
protected:
    void in_namespace(const std::function<void()>& body) {
        std::string why;
        Thread("tap-test", ThreadRole::foreign, [&] {
            if (::unshare(CLONE_NEWNET) != 0) {
                why = "no network namespace may be made here (CAP_SYS_ADMIN)";
            } else if (!make_interface(tap_name, IFF_TAP, Persist::yes)) {
                why = "no tap interface can be made here (/dev/net/tun)";
            } else {
                body();
            }
        }).join();
        if (!why.empty()) GTEST_SKIP() << why;
    }
    void with_guest(const std::function<void(NetBench&, NetGuest&)>& body) {
        in_namespace([&] {
            ASSERT_TRUE(set_up(tap_name, true));
            FakeDmaMachine machine;
            NetBench bench(machine, address_of(FakeDmaMachine::low_first),
                           [](const vmm::NetSetup& setup, vmm::DmaService& dma, vmm::IoLoop& loop) {
                               vmm::NetSetup mine = setup;
                               mine.net = *vmm::parse_net_options(std::string("tap:") + tap_name);
                               auto made = vmm::NetDevice::create(mine, dma, loop);
                               if (!made) throw std::runtime_error(made.error().message());
                               return std::move(*made);
                           });
            ASSERT_TRUE(bench.start());
            bench.give_buffers(NetBench::slots);
            NetGuest guest(bench, guest_address);
            ASSERT_TRUE(guest.resolve(host_address));
            body(bench, guest);
        });
    }
    static std::string refusal(const char* name) {
        const auto tap = vmm::open_tap(name);
        return tap ? "opened" : tap.error().message();
    }
};

/// A socket of the namespace on the tap's address.
struct HostSocket {
    explicit HostSocket(int type) : file(::socket(AF_INET, type | SOCK_CLOEXEC, 0)) {
        const timeval patience{.tv_sec = 10, .tv_usec = 0};
        ::setsockopt(file.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(host_address);
        EXPECT_EQ(::bind(file.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
        socklen_t bytes = sizeof(address);
        EXPECT_EQ(::getsockname(file.get(), reinterpret_cast<sockaddr*>(&address), &bytes), 0);
        port = ntohs(address.sin_port);
    }
    UniqueFd file;
    std::uint16_t port = 0;
};

TEST_F(NetTap, TheHostAnswersTheGuest) {
    with_guest([](NetBench& bench, NetGuest& guest) {
        for (unsigned i = 0; i < 10; ++i) EXPECT_TRUE(guest.ping(host_address));
        EXPECT_EQ(bench.device().net_counters().sent_refused.get(), 0U);
        EXPECT_EQ(bench.driver().registers().config(offsetof(vmm::NetConfigSpace, mtu), 2), 1500U);
        EXPECT_TRUE(bench.complaints().empty());
    });
}

TEST_F(NetTap, TheHostCompletesChecksums) {
    with_guest([](NetBench& bench, NetGuest& guest) {
        if ((bench.driver().features() & vmm::net_feature::csum) == 0) GTEST_SKIP() << "the tap has no offloads";
        const HostSocket server(SOCK_DGRAM);
        const NetBytes data = pattern(1, 1200);
        ASSERT_TRUE(guest.send_udp(5000, host_address, server.port, data, NetGuest::Checksum::left_to_host));
        NetBytes got(2000);
        ASSERT_EQ(::recv(server.file.get(), got.data(), got.size(), 0), 1200);
        got.resize(1200);
        EXPECT_EQ(got, data);
    });
}

TEST_F(NetTap, LongSegmentsGoBothWays) {
    with_guest([](NetBench& bench, NetGuest& guest) {
        constexpr std::uint64_t needed = vmm::net_feature::host_tso4 | vmm::net_feature::guest_tso4;
        if ((bench.driver().features() & needed) != needed) GTEST_SKIP() << "the tap has no offloads";
        const HostSocket server(SOCK_STREAM);
        ASSERT_EQ(::listen(server.file.get(), 1), 0);
        GuestTcp connection(guest, 4000, host_address, server.port);
        ASSERT_TRUE(connection.connect());
        const UniqueFd peer(::accept4(server.file.get(), nullptr, nullptr, SOCK_CLOEXEC));
        ASSERT_TRUE(peer);
        const NetBytes up = pattern(1, 7000);
        ASSERT_TRUE(connection.send(up, 1460));
        NetBytes got(up.size());
        ASSERT_EQ(::recv(peer.get(), got.data(), got.size(), MSG_WAITALL), static_cast<ssize_t>(got.size()));
        EXPECT_EQ(got, up);

        const NetBytes down = pattern(2, 400'000);
        Thread writer("test-server", ThreadRole::foreign, [&] {
            EXPECT_EQ(::send(peer.get(), down.data(), down.size(), MSG_NOSIGNAL), static_cast<ssize_t>(down.size()));
        });
        EXPECT_EQ(connection.receive(down.size()), down);
        writer.join();
        EXPECT_GT(connection.longest(), 4000U) << "segments came uncut";
        EXPECT_GT(bench.device().net_counters().received_merged.get(), 0U);
    });
}

TEST_F(NetTap, AGuestWithoutOffloadsGetsWholeFrames) {
    with_guest([](NetBench& bench, NetGuest& guest) {
        ASSERT_TRUE(bench.start(VirtioDriver::all_features & ~vmm::net_feature::offloads));
        bench.give_buffers(NetBench::slots);
        const HostSocket server(SOCK_STREAM);
        ASSERT_EQ(::listen(server.file.get(), 1), 0);
        GuestTcp connection(guest, 4000, host_address, server.port);
        ASSERT_TRUE(connection.connect());
        const UniqueFd peer(::accept4(server.file.get(), nullptr, nullptr, SOCK_CLOEXEC));
        const NetBytes down = pattern(2, 100'000);
        Thread writer("test-server", ThreadRole::foreign, [&] {
            EXPECT_EQ(::send(peer.get(), down.data(), down.size(), MSG_NOSIGNAL), static_cast<ssize_t>(down.size()));
        });
        EXPECT_EQ(connection.receive(down.size()), down);
        writer.join();
        EXPECT_LE(connection.longest(), 1460U);
    });
}

TEST_F(NetTap, SaysWhenTheInterfaceTakesNoFrames) {
    with_guest([](NetBench& bench, NetGuest& guest) {
        ASSERT_TRUE(set_up(tap_name, false));
        ASSERT_TRUE(guest.send_udp(1, host_address, 2, bytes_of("lost")));
        ASSERT_TRUE(becomes_true([&] { return !bench.complaints().empty(); }));
        EXPECT_NE(bench.complaints()[0].find("ip link set tap-test up"), std::string::npos) << bench.complaints()[0];
        ASSERT_TRUE(set_up(tap_name, true));
        EXPECT_TRUE(guest.ping(host_address)) << "and goes on when it is up again";
    });
}

TEST_F(NetTap, RefusalsNameCauseAndCure) {
    in_namespace([] {
        EXPECT_NE(refusal("no-such-tap").find("ip tuntap add dev no-such-tap"), std::string::npos)
            << refusal("no-such-tap");
        EXPECT_EQ(::if_nametoindex("no-such-tap"), 0U) << "it was made";
        EXPECT_NE(refusal("lo").find("it is no tap"), std::string::npos) << refusal("lo");
        ASSERT_TRUE(make_interface("tun-test", IFF_TUN, Persist::yes));
        EXPECT_NE(refusal("tun-test").find("it is no tap"), std::string::npos) << refusal("tun-test");
        const auto first = vmm::open_tap(tap_name);
        ASSERT_TRUE(first) << first.error().message();
        EXPECT_NE(refusal(tap_name).find("another virtual machine"), std::string::npos) << refusal(tap_name);
    });
}

TEST_F(NetTap, AnotherUsersTapIsRefused) {
    in_namespace([] {
        {
            const UniqueFd file = make_interface(tap_name, IFF_TAP, Persist::yes);
            ASSERT_TRUE(file);
            ASSERT_EQ(::ioctl(file.get(), TUNSETOWNER, ::geteuid() + 1), 0);
        }
        give_up_network_privileges();
        const std::string line = refusal(tap_name);
        EXPECT_NE(line.find("belongs to somebody else"), std::string::npos) << line;
    });
}

TEST_F(NetTap, AnInterfaceThatIsRemovedTakesTheLinkDown) {
    with_guest([](NetBench& bench, NetGuest&) {
        ASSERT_TRUE(remove_interface(tap_name));
        ASSERT_TRUE(becomes_true([&] { return !bench.complaints().empty(); }));
        EXPECT_NE(bench.complaints()[0].find("tap-test is gone"), std::string::npos) << bench.complaints()[0];
        EXPECT_EQ(bench.driver().registers().config(offsetof(vmm::NetConfigSpace, status), 2), 0U);
        EXPECT_TRUE(bench.send({{}, NetBytes(60)})) << "the guest's frames are still taken, and lost";
        bench.sync();
        EXPECT_EQ(bench.complaints().size(), 1U);
    });
}

}  // namespace
}  // namespace penumbra::test
