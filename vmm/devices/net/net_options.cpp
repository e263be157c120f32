#include "vmm/devices/net/net_options.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <net/if.h>

#include <charconv>
#include <utility>

#include "vmm/devices/net/user_addresses.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::string_view forward_form = "hostfwd=tcp|udp:[ADDRESS]:PORT-[ADDRESS]:PORT";

/// What stands before `separator`, which is taken away with it; everything if there is none.
std::string_view take_until(std::string_view& text, char separator) {
    const std::size_t end = text.find(separator);
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    return word;
}

struct Socket {
    in_addr address{};
    std::uint16_t port = 0;
};

std::optional<Socket> parse_socket(std::string_view text, in_addr otherwise) {
    const std::size_t colon = text.find(':');
    if (colon == std::string_view::npos) return std::nullopt;
    Socket socket{.address = otherwise};
    const std::string address(text.substr(0, colon));
    if (!address.empty() && ::inet_pton(AF_INET, address.c_str(), &socket.address) != 1) return std::nullopt;
    const std::string_view port = text.substr(colon + 1);
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), socket.port);
    if (error != std::errc{} || end != port.data() + port.size() || socket.port == 0) return std::nullopt;
    return socket;
}

std::optional<NetForward> parse_forward(std::string_view text) {
    NetForward forward;
    const std::string_view protocol = take_until(text, ':');
    if (protocol != "tcp" && protocol != "udp") return std::nullopt;
    forward.protocol = protocol == "tcp" ? ForwardProtocol::tcp : ForwardProtocol::udp;
    const std::optional<Socket> host = parse_socket(take_until(text, '-'), in_addr{htonl(INADDR_LOOPBACK)});
    const std::optional<Socket> guest = parse_socket(text, user_network::guest);
    if (!host || !guest) return std::nullopt;
    forward.host = host->address;
    forward.host_port = host->port;
    forward.guest = guest->address;
    forward.guest_port = guest->port;
    return forward;
}

Result<> check_tap_name(const std::string& name, const std::string& whole) {
    // Percent signs would ask the kernel to think of a name.
    if (!name.empty() && name.size() < IFNAMSIZ && name.find_first_of("/% \t\n") == std::string::npos) return {};
    return fail("use", fmt::format("--net '{}': '{}' is no name of an interface", whole, name),
                fmt::format("write --net tap:NAME with the name of an existing tap, 1..{} letters", IFNAMSIZ - 1));
}

Result<> read_word(std::string_view word, const std::string& whole, NetOptions& into) {
    constexpr std::string_view forward_key = "hostfwd=";
    constexpr std::string_view mac_key = "mac=";
    if (word.starts_with(mac_key)) {
        PENUMBRA_TRY_ASSIGN(into.mac, parse_mac(word.substr(mac_key.size())));
        return {};
    }
    if (into.kind == NetKind::user && word == "restrict") {
        into.reach = NetReach::nowhere;
        return {};
    }
    if (into.kind == NetKind::user && word.starts_with(forward_key)) {
        const std::optional<NetForward> forward = parse_forward(word.substr(forward_key.size()));
        if (!forward) {
            return fail("use", fmt::format("--net '{}': '{}' is no forward", whole, word),
                        fmt::format("write {}, as in hostfwd=tcp::2222-:22", forward_form));
        }
        into.forwards.push_back(*forward);
        return {};
    }
    return fail("use", fmt::format("--net '{}': unknown '{}'", whole, word),
                into.kind == NetKind::user ? fmt::format("the known words are {}, restrict and mac=MAC", forward_form)
                                           : "the known word is mac=MAC");
}

}  // namespace

Result<NetOptions> parse_net_options(std::string_view text) {
    const std::string whole(text);
    NetOptions options;
    constexpr std::string_view tap = "tap:";
    const bool more = text.find(',') != std::string_view::npos;
    const std::string_view kind = take_until(text, ',');
    if (kind.starts_with(tap)) {
        options.kind = NetKind::tap;
        options.tap = kind.substr(tap.size());
        PENUMBRA_TRY(check_tap_name(options.tap, whole));
    } else if (kind != "user") {
        return fail("use", fmt::format("--net '{}': unknown '{}'", whole, kind), "write user or tap:NAME");
    }
    for (bool left = more; left;) {
        left = text.find(',') != std::string_view::npos;
        PENUMBRA_TRY(read_word(take_until(text, ','), whole, options));
    }
    return options;
}

}  // namespace penumbra::vmm
