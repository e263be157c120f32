#include "tests/support/redis_proxy.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/assert.hpp"

namespace penumbra::test {

namespace {

constexpr int look_up_ms = 20;  // how soon a change of mind is noticed

sockaddr_un address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    PENUMBRA_ASSERT(path.size() < sizeof address.sun_path, "a path that fits a socket's address");
    std::ranges::copy(path, static_cast<char*>(address.sun_path));
    return address;
}

UniqueFd unix_socket() { return UniqueFd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)}; }

bool send_all(int fd, const char* bytes, std::size_t count) {
    while (count > 0) {
        const ssize_t sent = ::send(fd, bytes, count, MSG_NOSIGNAL);
        if (sent <= 0) return false;
        bytes += sent;
        count -= static_cast<std::size_t>(sent);
    }
    return true;
}

}  // namespace

RedisProxy::RedisProxy(const std::string& at, std::string server) : server_(std::move(server)) {
    listening_ = unix_socket();
    const sockaddr_un address = address_of(at);
    const auto* where = reinterpret_cast<const sockaddr*>(&address);
    PENUMBRA_ASSERT(::bind(listening_.get(), where, sizeof address) == 0, "a socket for a proxy");
    PENUMBRA_ASSERT(::listen(listening_.get(), 64) == 0, "a proxy that listens");
    thread_ = std::jthread([this] { run(); });
}

RedisProxy::~RedisProxy() { stop_.store(true); }

void RedisProxy::run() {
    while (!stop_.load()) {
        std::vector<pollfd> polls{{listening_.get(), POLLIN, 0}};
        for (const Pair& pair : pairs_) {
            const bool holds = swallow_.load();
            polls.push_back({holds ? -1 : pair.client.get(), POLLIN, 0});
            polls.push_back({pair.server.get(), POLLIN, 0});
        }
        if (::poll(polls.data(), polls.size(), look_up_ms) <= 0) continue;
        std::size_t at = 1;
        for (Pair& pair : pairs_) {
            if (polls[at].revents != 0) to_server(pair);
            if (polls[at + 1].revents != 0 && !pair.over) to_client(pair);
            at += 2;
        }
        pairs_.remove_if([](const Pair& pair) { return pair.over; });
        if (polls[0].revents != 0) welcome();
    }
}

void RedisProxy::welcome() {
    Pair pair{UniqueFd{::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC)}, unix_socket()};
    connections_.fetch_add(1);
    const sockaddr_un address = address_of(server_);
    const int rc = ::connect(pair.server.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    if (rc == 0) pairs_.push_back(std::move(pair));
}

void RedisProxy::to_server(Pair& pair) {
    std::array<char, 65536> bytes;
    const ssize_t got = ::recv(pair.client.get(), bytes.data(), bytes.size(), 0);
    pair.over = got <= 0 || !send_all(pair.server.get(), bytes.data(), static_cast<std::size_t>(got));
}

void RedisProxy::cut(Pair& pair) {
    pair.over = true;
    cuts_.fetch_add(1);
}

void RedisProxy::to_client(Pair& pair) {
    std::array<char, 65536> bytes;
    const ssize_t got = ::recv(pair.server.get(), bytes.data(), bytes.size(), 0);
    if (got <= 0) {
        pair.over = true;
        return;
    }
    std::int64_t pass = got;
    if (const std::int64_t flip = flip_after_.load(); flip != never) {
        if (flip < got) bytes[static_cast<std::size_t>(flip)] ^= 0x10;
        flip_after_.store(flip < got ? never : flip - got);
    }
    const std::int64_t limit = cut_each_after_.load();
    if (limit != never) pass = std::min(pass, std::max<std::int64_t>(limit - pair.brought, 0));
    if (const std::int64_t once = cut_after_.load(); once != never) {
        pass = std::min(pass, once);
        cut_after_.store(once <= got ? never : once - got);
    }
    pair.brought += got;
    if (const auto time = delay_.load(); time > 0) std::this_thread::sleep_for(std::chrono::milliseconds{time});
    pair.over = !send_all(pair.client.get(), bytes.data(), static_cast<std::size_t>(pass));
    if (pass < got) cut(pair);
}

}  // namespace penumbra::test
