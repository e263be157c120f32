// URLs, keys and answers of a remote store, as text.
#include <gtest/gtest.h>
#include <hiredis/hiredis.h>

#include <map>
#include <random>
#include <set>
#include <string>

#include "vmm/memory/tier/remote/cluster_map.hpp"
#include "vmm/memory/tier/remote/endpoint.hpp"
#include "vmm/memory/tier/remote/page_key.hpp"
#include "vmm/memory/tier/remote/server_answer.hpp"

namespace penumbra::vmm {
namespace {

/// What hiredis makes of bytes that a server sends.
Reply parsed(const std::string& bytes) {
    redisReader* reader = ::redisReaderCreate();
    ::redisReaderFeed(reader, bytes.data(), bytes.size());
    void* reply = nullptr;
    EXPECT_EQ(::redisReaderGetReply(reader, &reply), REDIS_OK);
    ::redisReaderFree(reader);
    EXPECT_NE(reply, nullptr) << bytes;
    return Reply{static_cast<redisReply*>(reply)};
}

TEST(RemoteUrl, TakesServersSocketsAndClusters) {
    const auto plain = RemoteUrl::parse("redis://store");
    ASSERT_TRUE(plain) << plain.error().message();
    EXPECT_EQ(plain->seeds, (std::vector<Endpoint>{{"store", 6379, {}}}));
    EXPECT_EQ(plain->text(), "redis at store:6379");
    const auto full = RemoteUrl::parse("redis://me:p%40ss%3a@[::1]:7000/12");
    ASSERT_TRUE(full) << full.error().message();
    EXPECT_EQ(full->seeds, (std::vector<Endpoint>{{"::1", 7000, {}}}));
    EXPECT_EQ(full->user, "me");
    EXPECT_EQ(full->password, "p@ss:");
    EXPECT_EQ(full->database, 12U);
    EXPECT_EQ(full->text(), "redis at [::1]:7000");
    const auto socket = RemoteUrl::parse("redis+unix://:word@/run/redis.sock?db=2");
    ASSERT_TRUE(socket) << socket.error().message();
    EXPECT_EQ(socket->seeds, (std::vector<Endpoint>{{{}, 0, "/run/redis.sock"}}));
    EXPECT_EQ(socket->user, "");
    EXPECT_EQ(socket->password, "word");
    EXPECT_EQ(socket->database, 2U);
    const auto cluster = RemoteUrl::parse("redis+cluster://:w@a:1,b,[::2]:65535");
    ASSERT_TRUE(cluster) << cluster.error().message();
    EXPECT_EQ(cluster->kind, StoreKind::cluster);
    EXPECT_EQ(cluster->seeds, (std::vector<Endpoint>{{"a", 1, {}}, {"b", 6379, {}}, {"::2", 65535, {}}}));
}

TEST(RemoteUrl, RefusesTheRestAndKeepsPasswordsToItself) {
    for (const char* url : {"",
                            "redis",
                            "redis:/",
                            "redis://",
                            "http://a",
                            "rediss://a",
                            "redis://a:0",
                            "redis://a:65536",
                            "redis://a:",
                            "redis://a:x",
                            "redis://a/x",
                            "redis://a/65536",
                            "redis://[::1",
                            "redis://[]:1",
                            "redis://user@a",
                            "redis://u:hunter%@a",
                            "redis://u:hunter%4@a",
                            "redis://u:hunter%zz@a",
                            "redis://:hunter@:1",
                            "redis+unix://a",
                            "redis+unix:///a?x=1",
                            "redis+unix:///a?db=",
                            "redis+cluster://a,",
                            "redis+cluster://,a",
                            "redis+cluster://a,b:0",
                            "redis+cluster://a/1",
                            "redis://a,b"}) {
        const auto parsed_url = RemoteUrl::parse(url);
        ASSERT_FALSE(parsed_url) << url;
        EXPECT_EQ(parsed_url.error().message().find("hunter"), std::string::npos);
        EXPECT_NE(parsed_url.error().message().find("redis://HOST:PORT"), std::string::npos);
    }
    std::string many = "redis+cluster://a";
    for (int i = 0; i < 64; ++i) many += ",a";
    EXPECT_FALSE(RemoteUrl::parse(many));
}

TEST(RemotePageKey, NamesVmPageAndSerialAndNeverTwice) {
    const PageKeys keys{{0x0123456789abcdef, 0xfedcba9876543210}};
    EXPECT_EQ(keys.of(0x2a, 0x1f).view(), "penumbra:0123456789abcdeffedcba9876543210:000002a:00000000001f");
    EXPECT_EQ(keys.prefix(), "penumbra:0123456789abcdeffedcba9876543210:");
    std::set<std::string> seen;
    for (std::uint64_t serial = 0; serial < 1000; ++serial) seen.emplace(keys.of(5, serial).view());
    EXPECT_EQ(seen.size(), 1000U);
    const auto one = VmId::random(), other = VmId::random();
    ASSERT_TRUE(one && other);
    EXPECT_NE(PageKeys{*one}.prefix(), PageKeys{*other}.prefix());
}

TEST(RemotePageKey, SlotsAreTheClustersAndSpread) {
    EXPECT_EQ(cluster_slot("123456789"), 0x31C3 % 16384);  // the specification's own example
    EXPECT_EQ(cluster_slot("foo"), 12182);                 // as CLUSTER KEYSLOT answers
    const PageKeys keys{{1, 2}};
    std::set<std::uint16_t> slots;
    for (std::uint32_t page = 0; page < 1000; ++page) slots.insert(cluster_slot(keys.of(page, page).view()));
    EXPECT_GT(slots.size(), 900U);
}

TEST(RemoteAnswer, RedirectionsAreUnderstoodOrNone) {
    const auto moved = redirection_of(*parsed("-MOVED 3999 127.0.0.1:6381\r\n"));
    ASSERT_TRUE(moved);
    EXPECT_EQ(moved->kind, Redirection::Kind::moved);
    EXPECT_EQ(moved->slot, 3999);
    EXPECT_EQ(moved->to, (Endpoint{"127.0.0.1", 6381, {}}));
    const auto ask = redirection_of(*parsed("-ASK 1 fe80::1:7000\r\n"));
    ASSERT_TRUE(ask);
    EXPECT_EQ(ask->kind, Redirection::Kind::ask);
    EXPECT_EQ(ask->to, (Endpoint{"fe80::1", 7000, {}}));
    const auto here = redirection_of(*parsed("-MOVED 1 :7000\r\n"));
    ASSERT_TRUE(here);
    EXPECT_EQ(here->to.host, "");
    EXPECT_EQ(redirection_of(*parsed("-MOVED 1 ?:7000\r\n"))->to.host, "");
    for (const char* other : {"-MOVED\r\n", "-MOVED 1\r\n", "-MOVED 16384 a:1\r\n", "-MOVED x a:1\r\n", "-ASK 1 a:\r\n",
                              "-ASK 1 a:0\r\n", "-ASK 1 a:65536\r\n", "-ERR x\r\n", "+MOVED 1 a:1\r\n", "$-1\r\n"}) {
        EXPECT_FALSE(redirection_of(*parsed(other))) << other;
    }
}

TEST(RemoteAnswer, RefusalsHaveTheirFailureAndCure) {
    const auto of = [](const char* reply) { return refusal_of("write", "redis at a:1", reply); };
    EXPECT_EQ(of("OOM command not allowed when used memory > 'maxmemory'.").failure, StoreFailure::full);
    for (const auto& [reply, cure] : std::map<const char*, const char*>{{"READONLY You can't write", "primary"},
                                                                        {"NOAUTH Authentication required.", "password"},
                                                                        {"LOADING Redis is loading", "has loaded"},
                                                                        {"MISCONF Redis is", "disk"},
                                                                        {"CLUSTERDOWN The cluster", "missing nodes"},
                                                                        {"ERR unknown", "log"}}) {
        const StoreError error = of(reply);
        EXPECT_EQ(error.failure, StoreFailure::io) << reply;
        EXPECT_NE(error.error.message().find(cure), std::string::npos) << error.error.message();
        EXPECT_NE(error.error.message().find(reply), std::string::npos);
    }
    EXPECT_EQ(of("WRONGTYPE Operation").failure, StoreFailure::corrupt);
    const std::string message = of("ERR \x1b[2J\n\x7f").error.message();
    EXPECT_EQ(message.find('\x1b'), std::string::npos) << "a server's words cannot drive a terminal";
    EXPECT_LT(of(std::string(100'000, 'x').c_str()).error.message().size(), 400U);
}

TEST(RemoteAnswer, OnlyAServerThatKeepsPagesIsTrusted) {
    EXPECT_TRUE(check_keeps_pages("# Memory\r\nused_memory:1\r\nmaxmemory_policy:noeviction\r\nx:y\r\n", "a"));
    EXPECT_TRUE(check_keeps_pages("maxmemory_policy:noeviction", "a"));
    for (const char* info :
         {"", "maxmemory_policy:", "maxmemory_policy:allkeys-lru\r\n", "maxmemory_policy:noevictions\r\n",
          "maxmemory_policy:volatile-ttl\r\n", "xmaxmemory_policy:noeviction\r\n", "\r\n\r\n:"}) {
        EXPECT_FALSE(check_keeps_pages(info, "a")) << info;
    }
}

TEST(RemoteClusterMap, TakesWhatMakesSenseAndNothingElse) {
    ClusterMap map;
    std::vector<Endpoint> seen;
    const auto number_of = [&](const Endpoint& endpoint) {
        seen.push_back(endpoint);
        return static_cast<ClusterMap::NodeNumber>(seen.size() - 1);
    };
    const Endpoint asked{"here", 1, {}};
    const std::string node_a = "*3\r\n$9\r\n127.0.0.1\r\n:30001\r\n$2\r\nid\r\n", node_b = "*2\r\n$-1\r\n:30002\r\n";
    const std::string two = "*2\r\n*3\r\n:0\r\n:8000\r\n" + node_a + "*4\r\n:8001\r\n:16383\r\n" + node_b + node_a;
    ASSERT_TRUE(map.take(*parsed(two), asked, number_of));
    EXPECT_EQ(seen, (std::vector<Endpoint>{{"127.0.0.1", 30001, {}}, {"here", 30002, {}}}));
    EXPECT_EQ(map.serving(0), 0);
    EXPECT_EQ(map.serving(8000), 0);
    EXPECT_EQ(map.serving(8001), 1);
    EXPECT_EQ(map.serving(16383), 1);
    map.moved(5, 1);
    EXPECT_EQ(map.serving(5), 1);
    for (const std::string& bad :
         {std::string{"+OK\r\n"}, std::string{"*1\r\n+OK\r\n"}, std::string{"*1\r\n*2\r\n:0\r\n:1\r\n"},
          "*1\r\n*3\r\n:-1\r\n:1\r\n" + node_a, "*1\r\n*3\r\n:2\r\n:1\r\n" + node_a,
          "*1\r\n*3\r\n:0\r\n:16384\r\n" + node_a, std::string{"*1\r\n*3\r\n:0\r\n:1\r\n*0\r\n"},
          std::string{"*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n:0\r\n"},
          std::string{"*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n:65536\r\n"},
          "*1\r\n*3\r\n$1\r\n0\r\n:1\r\n" + node_a}) {
        EXPECT_FALSE(map.take(*parsed(bad), asked, number_of)) << bad;
        EXPECT_EQ(map.serving(5), 1) << "nothing changed";
    }
    ASSERT_TRUE(map.take(*parsed("*0\r\n"), asked, number_of));
    EXPECT_EQ(map.serving(0), ClusterMap::nobody);
}

}  // namespace
}  // namespace penumbra::vmm
