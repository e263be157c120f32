// Servers that say no, each with the cure.
#include <gtest/gtest.h>

#include "base/planted.hpp"
#include "tests/support/redis_pages.hpp"
#include "tests/support/redis_server.hpp"

namespace penumbra::vmm {
namespace {

using test::read_pages;
using test::write_pages;

class RemoteRefusalTest : public ::testing::Test {
protected:
    void SetUp() override {
        if (!test::redis_is_installed()) GTEST_SKIP() << "needs redis-server and redis-tools";
    }
    [[nodiscard]] test::RedisServer server(const std::vector<std::string>& settings = {}) const {
        return test::RedisServer{folder_, "redis", settings};
    }
    /// What a tier that is opened there says.
    [[nodiscard]] static std::string refusal(const RemoteTierOptions& options) {
        const auto tier = RemoteTier::create(options);
        return tier ? "opened" : tier.error().message();
    }
    static ::testing::AssertionResult says(const std::string& message, const char* part) {
        if (message.find(part) != std::string::npos) return ::testing::AssertionSuccess();
        return ::testing::AssertionFailure() << message;
    }

    test::RedisFolder folder_;
    const std::vector<test::Page> pages_ = test::noise_pages(40);
    const std::vector<RemoteItem> items_ = test::items_of(pages_);
};

TEST_F(RemoteRefusalTest, ServersThatMayEvictAreRefused) {
    auto redis = server();
    for (const char* policy : {"allkeys-lru", "allkeys-random", "volatile-lru", "volatile-ttl"}) {
        redis.tell({"CONFIG", "SET", "maxmemory-policy", policy});
        const std::string message = refusal(test::remote_options(redis.url()));
        EXPECT_TRUE(says(message, policy));
        EXPECT_TRUE(says(message, "set its maxmemory-policy to noeviction"));
    }
#if defined(PENUMBRA_TEST_SWITCHES)
    const Planted careless{Plant::remote_takes_evicting};
    EXPECT_EQ(refusal(test::remote_options(redis.url())), "opened");
#endif
}

TEST_F(RemoteRefusalTest, AServerThatBeganToEvictIsNotUsedAfterAReconnect) {
    auto redis = server();
    const auto tier = test::open_remote(test::remote_options(redis.url()));
    const auto handles = write_pages(*tier, items_).handles();
    redis.tell({"CONFIG", "SET", "maxmemory-policy", "allkeys-lru"});
    redis.tell({"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"});
    const auto refused = write_pages(*tier, items_);
    ASSERT_FALSE(refused.result);
    EXPECT_EQ(refused.result.error().failure, StoreFailure::io);
    EXPECT_TRUE(says(refused.message(), "noeviction"));
    EXPECT_EQ(tier->health().state, RemoteState::failing);
    redis.tell({"CONFIG", "SET", "maxmemory-policy", "noeviction"});
    EXPECT_TRUE(test::comes_true([&] { return write_pages(*tier, items_).result.has_value(); }));
    EXPECT_EQ(tier->health().state, RemoteState::good);
    EXPECT_TRUE(read_pages(*test::open_reader(*tier), handles).pages == pages_);
}

TEST_F(RemoteRefusalTest, AFullServerIsFullAndKeepsWhatItHas) {
    auto redis = server();
    const auto tier = test::open_remote(test::remote_options(redis.url()));
    const auto handles = write_pages(*tier, items_).handles();
    redis.tell({"CONFIG", "SET", "maxmemory", "1mb"});
    const auto full = write_pages(*tier, items_);
    ASSERT_FALSE(full.result);
    EXPECT_EQ(full.result.error().failure, StoreFailure::full);
    EXPECT_TRUE(says(full.message(), "raise the server's maxmemory"));
    EXPECT_TRUE(std::ranges::none_of(full.outcomes, &StoreOutcome::stored));
    EXPECT_TRUE(read_pages(*test::open_reader(*tier), handles).pages == pages_);
    EXPECT_EQ(tier->pages(), items_.size());
    redis.tell({"CONFIG", "SET", "maxmemory", "0"});
    EXPECT_TRUE(write_pages(*tier, items_).result);
    EXPECT_EQ(redis.keys().size(), 2 * items_.size());
}

TEST_F(RemoteRefusalTest, PasswordsRightsAndReplicas) {
    auto redis = server({"--requirepass", "secret"});
    redis.tell({"AUTH", "secret"});
    auto options = test::remote_options(redis.url());
    EXPECT_TRUE(says(refusal(options), "give a password"));
    options.password = "wrong-one";
    EXPECT_TRUE(says(refusal(options), "right user and password"));
    EXPECT_FALSE(says(refusal(options), "wrong-one"));
    redis.tell({"ACL", "SETUSER", "reader", "on", ">word", "~penumbra:*", "+get", "+info"});
    options.user = "reader";
    options.password = "word";
    const auto reader = test::open_remote(options);
    EXPECT_TRUE(says(write_pages(*reader, items_).message(), "allow this user SET"));
    options.user.clear();
    options.password = "secret";
    const auto tier = test::open_remote(options);
    redis.tell({"REPLICAOF", "127.0.0.1", "1"});
    const auto replica = write_pages(*tier, items_);
    EXPECT_TRUE(says(replica.message(), "name the primary"));
    EXPECT_EQ(replica.result.error().failure, StoreFailure::io);
}

TEST_F(RemoteRefusalTest, NobodyThereAndNoRedisThere) {
    auto options = test::remote_options("redis+unix://" + folder_.file("nobody"));
    EXPECT_TRUE(says(refusal(options), "connect to the page store"));
    EXPECT_TRUE(says(refusal(options), "No such file"));
    auto redis = server();
    options.url = "redis+cluster://127.0.0.1:1";
    EXPECT_TRUE(says(refusal(options), "Connection refused"));
    options.url = redis.url();
    options.capacity_bytes = 4096;
    EXPECT_TRUE(says(refusal(options), "256 KiB"));
    options = test::remote_options(redis.url());
    options.expiry = std::chrono::milliseconds{10};
    EXPECT_TRUE(says(refusal(options), "1 second"));
}

TEST_F(RemoteRefusalTest, AServerThatIsNoClusterAndAClusterThatIsNoServer) {
    test::RedisServer plain{folder_, "plain", {}, test::RedisServer::Listen::tcp_too};
    const std::string at = "127.0.0.1:" + std::to_string(plain.port());
    EXPECT_TRUE(says(refusal(test::remote_options("redis+cluster://" + at)), "write redis://"));
    test::RedisServer lone{folder_,
                           "lone",
                           {"--cluster-enabled", "yes", "--cluster-config-file", "lone.conf"},
                           test::RedisServer::Listen::tcp_too};
    const auto tier = test::open_remote(test::remote_options(lone.url()));
    EXPECT_TRUE(says(write_pages(*tier, items_).message(), "CLUSTERDOWN"));
}

}  // namespace
}  // namespace penumbra::vmm
