// Stands between a client and a Redis server and harms what passes, as networks do.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <list>
#include <string>
#include <thread>

#include "base/unique_fd.hpp"

namespace penumbra::test {

class RedisProxy {
public:
    /// Listens at the unix socket `at`; every client gets a connection of its own to the one at `server`.
    RedisProxy(const std::string& at, std::string server);
    ~RedisProxy();
    RedisProxy(const RedisProxy&) = delete;
    RedisProxy& operator=(const RedisProxy&) = delete;

    static constexpr std::int64_t never = -1;
    /// After that many more bytes from the server, its connection is cut, once.
    void cut_after(std::int64_t bytes) { cut_after_.store(bytes); }
    /// As cut_after, on every connection anew.
    void cut_each_after(std::int64_t bytes) { cut_each_after_.store(bytes); }
    /// The byte that many further on from the server gets a bit flipped, once.
    void flip_after(std::int64_t bytes) { flip_after_.store(bytes); }
    /// What comes from the server waits so long in every connection.
    void delay(std::chrono::milliseconds time) { delay_.store(time.count()); }
    /// What comes from the client passes no further.
    void swallow(bool on) { swallow_.store(on); }

    [[nodiscard]] unsigned connections() const { return connections_.load(); }
    [[nodiscard]] unsigned cuts() const { return cuts_.load(); }

private:
    struct Pair {
        UniqueFd client;
        UniqueFd server;
        std::int64_t brought = 0;  // from the server
        bool over = false;
    };
    void run();
    void welcome();
    void to_server(Pair& pair);
    void to_client(Pair& pair);
    void cut(Pair& pair);

    const std::string server_;
    UniqueFd listening_;
    std::list<Pair> pairs_;
    std::atomic<std::int64_t> cut_after_{never};
    std::atomic<std::int64_t> cut_each_after_{never};
    std::atomic<std::int64_t> flip_after_{never};
    std::atomic<std::int64_t> delay_{0};
    std::atomic<bool> swallow_{false};
    std::atomic<unsigned> connections_{0};
    std::atomic<unsigned> cuts_{0};
    std::atomic<bool> stop_{false};
    std::jthread thread_;
};

}  // namespace penumbra::test
