#include "vmm/memory/tier/remote/remote_node.hpp"

#include <algorithm>

#include "vmm/memory/tier/remote/server_answer.hpp"

namespace penumbra::vmm {

Result<Connection*> RemoteNode::connected() {
    if (connection_) return &*connection_;
    if (failure_ && std::chrono::steady_clock::now() < next_try_) return std::unexpected{*failure_};
    Result<Connection> made = introduce();
    if (!made) {
        failure_ = made.error();
        backoff_ = std::clamp(2 * backoff_, first_backoff, longest_backoff);
        next_try_ = std::chrono::steady_clock::now() + backoff_;
        return std::unexpected{std::move(made).error()};
    }
    failure_.reset();
    backoff_ = {};
    connection_.emplace(std::move(*made));
    status_.connects.add();
    return &*connection_;
}

Result<Connection> RemoteNode::introduce() const {
    PENUMBRA_TRY_ASSIGN(Connection connection, Connection::open(endpoint_, access_.connect_timeout));
    const auto deadline = std::chrono::steady_clock::now() + access_.connect_timeout;
    const auto ask = [&](StoreCommand command) -> Result<Reply> {
        connection.queue(std::move(command));
        PENUMBRA_TRY_ASSIGN(Reply reply, connection.receive(deadline));
        if (reply->type != REDIS_REPLY_ERROR) return reply;
        return std::unexpected{refusal_of("use the page store", endpoint_.text(), text_of(*reply)).error};
    };
    if (!access_.user.empty()) {
        PENUMBRA_TRY(ask({"AUTH", access_.user, access_.password}));
    } else if (!access_.password.empty()) {
        PENUMBRA_TRY(ask({"AUTH", access_.password}));
    }
    if (access_.database != 0) PENUMBRA_TRY(ask({"SELECT", std::to_string(access_.database)}));
    // At each connect, because whoever restarts a server may have configured it anew.
    PENUMBRA_TRY_ASSIGN(const Reply info, ask({"INFO", "memory"}));
    PENUMBRA_TRY(check_keeps_pages(text_of(*info), endpoint_.text()));
    return connection;
}

}  // namespace penumbra::vmm
