// What a user says about one network card.
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "vmm/devices/net/mac_address.hpp"

namespace penumbra::vmm {

/// `user`: a network of the guest's own behind the VMM's sockets, without privileges. `tap`: an interface of the host.
enum class NetKind : std::uint8_t { user, tap };

enum class ForwardProtocol : std::uint8_t { tcp, udp };

/// A port of the host that leads to one of the guest.
struct NetForward {
    ForwardProtocol protocol = ForwardProtocol::tcp;
    in_addr host{};
    std::uint16_t host_port = 0;
    in_addr guest{};
    std::uint16_t guest_port = 0;
};

/// Where a guest on a user network may connect to.
enum class NetReach : std::uint8_t { everywhere, nowhere };

struct NetOptions {
    NetKind kind = NetKind::user;
    std::string tap;  ///< the interface's name
    std::vector<NetForward> forwards;
    NetReach reach = NetReach::everywhere;
    std::optional<MacAddress> mac;  ///< none: derived, see NetSetup
};

/// "user[,hostfwd=tcp|udp:[ADDRESS]:PORT-[ADDRESS]:PORT]...[,restrict][,mac=MAC]" or "tap:NAME[,mac=MAC]". Without
/// addresses a forward leads from 127.0.0.1 to the guest's own address.
[[nodiscard]] Result<NetOptions> parse_net_options(std::string_view text);

}  // namespace penumbra::vmm
