// One server as one thread uses it: connected when it is first needed, looked at before it is trusted, and after a
// failure left alone for a while, so that faults on a dead server fail at once instead of waiting in turn.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "vmm/memory/tier/remote/connection.hpp"
#include "vmm/memory/tier/remote/remote_status.hpp"

namespace penumbra::vmm {

/// How to introduce oneself.
struct RemoteAccess {
    StoreKind kind = StoreKind::server;
    std::vector<Endpoint> seeds;
    unsigned database = 0;
    std::string user;
    std::string password;
    std::chrono::milliseconds connect_timeout{};
    std::chrono::milliseconds answer_timeout{};
};

class RemoteNode {
public:
    static constexpr std::chrono::milliseconds first_backoff{50};
    static constexpr std::chrono::milliseconds longest_backoff{3000};

    RemoteNode(Endpoint endpoint, const RemoteAccess& access, RemoteStatus& status)
        : endpoint_(std::move(endpoint)), access_(access), status_(status) {}

    /// The connection there is, or a new one. While it is left alone: the error that made it so.
    [[nodiscard]] Result<Connection*> connected();
    /// Ends the connection: its answers can no longer be told apart.
    void disconnect() { connection_.reset(); }
    [[nodiscard]] Connection* connection() { return connection_ ? &*connection_ : nullptr; }
    [[nodiscard]] const Endpoint& endpoint() const { return endpoint_; }

private:
    [[nodiscard]] Result<Connection> introduce() const;

    Endpoint endpoint_;
    const RemoteAccess& access_;
    RemoteStatus& status_;
    std::optional<Connection> connection_;
    std::optional<Error> failure_;
    std::chrono::milliseconds backoff_{0};
    Connection::Time next_try_{};
};

}  // namespace penumbra::vmm
