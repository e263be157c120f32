#include "tests/support/redis_server.hpp"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "base/assert.hpp"
#include "base/unique_fd.hpp"

namespace penumbra::test {

namespace {

constexpr const char* server_program = "/usr/bin/redis-server";
constexpr const char* client_program = "/usr/bin/redis-cli";

/// A port that is free now, and whose cluster port (10000 above) is likely to be.
unsigned free_port() {
    const UniqueFd fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const auto base = static_cast<unsigned>(::getpid()) * 7;
    for (unsigned i = 0; i < 1000; ++i) {
        const unsigned port = 12000 + (base + i * 13) % 10000;  // both below the ports that the kernel gives to clients
        address.sin_port = htons(static_cast<std::uint16_t>(port));
        if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return port;
    }
    assertion_failed("a free port", __FILE__, __LINE__, "a port to listen at");
}

}  // namespace

bool redis_is_installed() { return ::access(server_program, X_OK) == 0 && ::access(client_program, X_OK) == 0; }

RedisFolder::RedisFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "penumbra-redis-XXXXXX").string();
    PENUMBRA_ASSERT(::mkdtemp(name.data()) != nullptr, "a folder for servers");
    path_ = name;
}

RedisServer::RedisServer(const RedisFolder& folder, std::string name, std::vector<std::string> settings, Listen listen)
    : socket_(folder.file(name)), port_(listen == Listen::tcp_too ? free_port() : 0) {
    words_ = {server_program,  "--port",    std::to_string(port_),
              "--bind",        "127.0.0.1", "--unixsocket",
              socket_,         "--save",    "",
              "--appendonly",  "no",        "--dir",
              folder.file(""), "--logfile", folder.file(name + ".log")};
    words_.insert(words_.end(), settings.begin(), settings.end());
    start();
}

void RedisServer::start() {
    process_ = std::make_unique<Child>(words_, ChildStreams{});
    PENUMBRA_ASSERT(comes_true([this] { return answers(); }), "a Redis server that starts");
}

void RedisServer::stop() {
    client_.reset();
    process_.reset();
    ::unlink(socket_.c_str());
}

bool RedisServer::answers() {
    PENUMBRA_ASSERT(!process_->ended(), "a Redis server that stays up; its log says why not");
    client_.reset(::redisConnectUnix(socket_.c_str()));
    if (client_->err != 0) return false;
    const RedisReply reply{static_cast<redisReply*>(::redisCommand(client_.get(), "PING")), &::freeReplyObject};
    return reply != nullptr && std::string{reply->str, reply->len}.find("LOADING") == std::string::npos;
}

RedisReply RedisServer::ask(const std::vector<std::string>& words) {
    std::vector<const char*> starts;
    std::vector<std::size_t> lengths;
    for (const std::string& word : words) {
        starts.push_back(word.data());
        lengths.push_back(word.size());
    }
    RedisReply reply{static_cast<redisReply*>(::redisCommandArgv(client_.get(), static_cast<int>(words.size()),
                                                                 starts.data(), lengths.data())),
                     &::freeReplyObject};
    PENUMBRA_ASSERT(reply != nullptr, "a Redis server that answers a test");
    return reply;
}

std::string RedisServer::text(const std::vector<std::string>& words) {
    const RedisReply reply = ask(words);
    return reply->str == nullptr ? std::string{} : std::string{reply->str, reply->len};
}

void RedisServer::tell(const std::vector<std::string>& words) {
    const RedisReply reply = ask(words);
    PENUMBRA_ASSERT(reply->type != REDIS_REPLY_ERROR, reply->str);
}

std::vector<std::string> RedisServer::keys(const std::string& pattern) {
    const RedisReply reply = ask({"KEYS", pattern});
    std::vector<std::string> found;
    for (std::size_t i = 0; i < reply->elements; ++i)
        found.emplace_back(reply->element[i]->str, reply->element[i]->len);
    std::ranges::sort(found);
    return found;
}

RedisCluster::RedisCluster(const RedisFolder& folder) {
    std::vector<std::string> create{client_program, "--cluster", "create"};
    for (unsigned i = 0; i < size; ++i) {
        const std::string name = "node" + std::to_string(i);
        const std::vector<std::string> settings{
            "--cluster-enabled", "yes", "--cluster-config-file", name + ".conf", "--cluster-node-timeout", "5000"};
        nodes_.push_back(std::make_unique<RedisServer>(folder, name, settings, RedisServer::Listen::tcp_too));
        create.push_back("127.0.0.1:" + std::to_string(nodes_.back()->port()));
    }
    create.push_back("--cluster-yes");
    Child creation{create, {}};
    PENUMBRA_ASSERT(creation.wait() == 0, "a cluster that can be made");
    for (const auto& node : nodes_) {
        PENUMBRA_ASSERT(
            comes_true([&] { return node->text({"CLUSTER", "INFO"}).find("cluster_state:ok") != std::string::npos; }),
            "a cluster that comes up");
    }
}

std::string RedisCluster::url() const {
    std::string url = "redis+cluster://";
    for (const auto& node : nodes_)
        url += (node == nodes_.front() ? "" : ",") + ("127.0.0.1:" + std::to_string(node->port()));
    return url;
}

unsigned RedisCluster::serving(unsigned slot) {
    const RedisReply reply = nodes_[0]->ask({"CLUSTER", "SLOTS"});
    for (std::size_t i = 0; i < reply->elements; ++i) {
        const redisReply& range = *reply->element[i];
        if (range.element[0]->integer > slot || range.element[1]->integer < slot) continue;
        for (unsigned number = 0; number < size; ++number) {
            if (range.element[2]->element[1]->integer == nodes_[number]->port()) return number;
        }
    }
    assertion_failed("a node", __FILE__, __LINE__, "a slot that some node serves");
}

void RedisCluster::open_slot(unsigned slot, unsigned from, unsigned to) {
    const std::string text = std::to_string(slot);
    nodes_[to]->tell({"CLUSTER", "SETSLOT", text, "IMPORTING", id_of(from)});
    nodes_[from]->tell({"CLUSTER", "SETSLOT", text, "MIGRATING", id_of(to)});
}

std::size_t RedisCluster::move_keys(unsigned slot, unsigned from, unsigned to, unsigned most) {
    const RedisReply keys = nodes_[from]->ask({"CLUSTER", "GETKEYSINSLOT", std::to_string(slot), std::to_string(most)});
    for (std::size_t i = 0; i < keys->elements; ++i) {
        const std::string key{keys->element[i]->str, keys->element[i]->len};
        nodes_[from]->tell({"MIGRATE", "127.0.0.1", std::to_string(nodes_[to]->port()), key, "0", "5000"});
    }
    return keys->elements;
}

void RedisCluster::close_slot(unsigned slot, unsigned from, unsigned to) {
    while (move_keys(slot, from, to, 100) > 0) {
    }
    const std::string target = id_of(to);
    nodes_[to]->tell({"CLUSTER", "SETSLOT", std::to_string(slot), "NODE", target});
    nodes_[from]->tell({"CLUSTER", "SETSLOT", std::to_string(slot), "NODE", target});
    for (unsigned i = 0; i < size; ++i) {
        if (i != from && i != to) nodes_[i]->tell({"CLUSTER", "SETSLOT", std::to_string(slot), "NODE", target});
    }
}

std::size_t RedisCluster::keys() {
    std::size_t count = 0;
    for (const auto& node : nodes_) count += node->keys().size();
    return count;
}

}  // namespace penumbra::test
