// Where a store listens, and the URL that says so.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace penumbra::vmm {

/// A TCP host and port, or the path of a unix socket.
struct Endpoint {
    std::string host;
    std::uint16_t port = 0;
    std::string path;  ///< when not empty, the others do not count

    [[nodiscard]] std::string text() const;
    friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

enum class StoreKind : std::uint8_t { server, cluster };

struct RemoteUrl {
    StoreKind kind = StoreKind::server;
    std::vector<Endpoint> seeds;  ///< one of a server; of a cluster at least one
    unsigned database = 0;
    std::string user;
    std::string password;

    /// Takes redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], redis+unix://[[USER]:PASSWORD@]/PATH[?db=DATABASE] and
    /// redis+cluster://[[USER]:PASSWORD@]HOST[:PORT][,HOST[:PORT]]...; an IPv6 address stands in brackets, %XX for any
    /// byte of user and password. The port is 6379 by default. No message repeats the URL, which may hold a password.
    [[nodiscard]] static Result<RemoteUrl> parse(std::string_view url);

    /// What messages call the store.
    [[nodiscard]] std::string text() const;
};

}  // namespace penumbra::vmm
