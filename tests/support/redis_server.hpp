// Real Redis servers for tests, in a folder of their own, and what a test asks them as another client.
#pragma once

#include <hiredis/hiredis.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/child_process.hpp"

namespace penumbra::test {

/// Gone with all that is in it at the end.
class RedisFolder {
public:
    RedisFolder();
    ~RedisFolder() { std::filesystem::remove_all(path_); }
    RedisFolder(const RedisFolder&) = delete;
    RedisFolder& operator=(const RedisFolder&) = delete;
    [[nodiscard]] std::string file(const std::string& name) const { return (path_ / name).string(); }

private:
    std::filesystem::path path_;
};

[[nodiscard]] bool redis_is_installed();

using RedisReply = std::unique_ptr<redisReply, decltype(&::freeReplyObject)>;

class RedisServer {
public:
    enum class Listen : unsigned char { unix_only, tcp_too };
    /// Starts one and waits until it answers. `settings` are words of its command line.
    RedisServer(const RedisFolder& folder, std::string name, std::vector<std::string> settings = {},
                Listen listen = Listen::unix_only);

    [[nodiscard]] const std::string& socket() const { return socket_; }
    [[nodiscard]] unsigned port() const { return port_; }
    [[nodiscard]] std::string url() const { return "redis+unix://" + socket_; }
    [[nodiscard]] const Child& process() const { return *process_; }
    /// Kills it; its data goes with it.
    void stop();
    /// Starts it again.
    void start();

    /// What it answers; asserts that it does.
    [[nodiscard]] RedisReply ask(const std::vector<std::string>& words);
    /// The same, for answers that are a number or a text.
    [[nodiscard]] long long number(const std::vector<std::string>& words) { return ask(words)->integer; }
    [[nodiscard]] std::string text(const std::vector<std::string>& words);
    /// Asks, and asserts that the answer is no error.
    void tell(const std::vector<std::string>& words);
    [[nodiscard]] std::vector<std::string> keys(const std::string& pattern = "penumbra:*");

private:
    [[nodiscard]] bool answers();

    std::vector<std::string> words_;
    std::string socket_;
    unsigned port_ = 0;
    std::unique_ptr<Child> process_;
    std::unique_ptr<redisContext, decltype(&::redisFree)> client_{nullptr, &::redisFree};
};

/// Three servers that share the slots evenly.
class RedisCluster {
public:
    static constexpr unsigned size = 3;
    explicit RedisCluster(const RedisFolder& folder);

    [[nodiscard]] RedisServer& node(unsigned number) { return *nodes_[number]; }
    [[nodiscard]] std::string url() const;
    /// The node that serves a slot, as node 0 sees it.
    [[nodiscard]] unsigned serving(unsigned slot);
    /// The first half of moving a slot: its keys may be on either node, the source answers ASK for those that left.
    void open_slot(unsigned slot, unsigned from, unsigned to);
    /// Moves up to `most` of the slot's keys; answers how many there were.
    std::size_t move_keys(unsigned slot, unsigned from, unsigned to, unsigned most);
    /// The second half: all keys are moved, and all nodes know.
    void close_slot(unsigned slot, unsigned from, unsigned to);
    [[nodiscard]] std::size_t keys();

private:
    [[nodiscard]] std::string id_of(unsigned number) { return nodes_[number]->text({"CLUSTER", "MYID"}); }
    std::vector<std::unique_ptr<RedisServer>> nodes_;
};

}  // namespace penumbra::test
