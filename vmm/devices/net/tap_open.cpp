#include "vmm/devices/net/tap_open.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "vmm/devices/net/net_format.hpp"
#include "vmm/devices/net/net_packet.hpp"

namespace penumbra::vmm {

namespace {

std::string how_to_make(const std::string& name) {
    return fmt::format("make it with: ip tuntap add dev {0} mode tap user $USER && ip link set {0} up", name);
}

ifreq request_for(const std::string& name) {
    ifreq request{};
    name.copy(request.ifr_name, IFNAMSIZ - 1);
    return request;
}

/// drivers/net/tun.c, tun_set_iff: what each refusal means for an interface that exists.
std::string cure_for(int error_number, const std::string& name) {
    switch (error_number) {
        case EBUSY:
            return "another virtual machine or program uses it; give every card a tap of its own";
        case EPERM:
            return fmt::format("it belongs to somebody else; make it yours: ip tuntap del dev {0} mode tap; {1}", name,
                               how_to_make(name));
        case EINVAL:
            return fmt::format("it is no tap with a single queue; choose another name, or {}", how_to_make(name));
        default:
            return {};
    }
}

Result<UniqueFd> open_driver() {
    UniqueFd file(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (file) return file;
    const bool absent = errno == ENOENT || errno == ENODEV || errno == ENXIO;
    return fail_errno("open the host's tap driver", "/dev/net/tun",
                      absent ? "load it (modprobe tun), give the container the device, or use --net user"
                             : "ask for access to it, or use --net user");
}

Result<> attach(int file, const std::string& name) {
    ifreq request = request_for(name);
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if (::ioctl(file, TUNSETIFF, &request) != 0) {
        return fail_errno("use the tap interface", name, cure_for(errno, name));
    }
    // The kernel would have made one that was removed a moment ago; one that was made for us stays without us.
    ifreq state{};
    if (::ioctl(file, TUNGETIFF, &state) != 0) return fail_errno("look at the tap interface", name);
    if ((state.ifr_flags & IFF_PERSIST) == 0) {
        return std::unexpected{Error{"use the tap interface", name, ENODEV, how_to_make(name)}};
    }
    return {};
}

std::uint16_t mtu_of(const std::string& name) {
    const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request = request_for(name);
    if (!socket || ::ioctl(socket.get(), SIOCGIFMTU, &request) != 0) return 0;
    return static_cast<std::uint16_t>(std::clamp<int>(request.ifr_mtu, 0, std::numeric_limits<std::uint16_t>::max()));
}

}  // namespace

unsigned tap_offloads(std::uint64_t features) {
    if ((features & net_feature::guest_csum) == 0) return 0;
    unsigned bits = TUN_F_CSUM;
    if ((features & net_feature::guest_tso4) != 0) bits |= TUN_F_TSO4;
    if ((features & net_feature::guest_tso6) != 0) bits |= TUN_F_TSO6;
    const bool segments = (bits & (TUN_F_TSO4 | TUN_F_TSO6)) != 0;
    if (segments && (features & net_feature::guest_ecn) != 0) bits |= TUN_F_TSO_ECN;
    return bits;
}

Result<OpenTap> open_tap(const std::string& name) {
    if (::if_nametoindex(name.c_str()) == 0) {
        return std::unexpected{Error{"use the tap interface", name, ENODEV, how_to_make(name)}};
    }
    OpenTap tap;
    PENUMBRA_TRY_ASSIGN(tap.file, open_driver());
    PENUMBRA_TRY(attach(tap.file.get(), name));
    const int header = net_header_bytes;
    if (::ioctl(tap.file.get(), TUNSETVNETHDRSZ, &header) != 0) {
        return fail_errno("set the header of the tap interface", name, "a newer kernel is needed");
    }
    // Without any a tap still works: its kernel then computes and segments by itself.
    if (::ioctl(tap.file.get(), TUNSETOFFLOAD, tap_offloads(net_feature::offloads)) == 0) {
        tap.offloads = net_feature::offloads;
    }
    if (::ioctl(tap.file.get(), TUNSETOFFLOAD, 0) != 0) {
        return fail_errno("set the offloads of the tap interface", name, "a newer kernel is needed");
    }
    tap.mtu = mtu_of(name);
    return tap;
}

}  // namespace penumbra::vmm
