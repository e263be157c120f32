// Whole machines whose cold pages live on a real Redis server.
#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <fstream>
#include <iterator>

#include "tests/support/library_pages.hpp"
#include "tests/support/redis_server.hpp"
#include "vmm/memory/memory_system.hpp"

namespace penumbra::test {
namespace {

constexpr std::uint64_t mebibyte = 1ULL << 20;
constexpr Gfn first{0x400};

class RemotePaging : public testing::Test {
protected:
    void SetUp() override {
        if (!redis_is_installed()) GTEST_SKIP() << "redis-server is not installed";
        server_.emplace(folder_, "store");
    }

    RedisFolder folder_;
    std::optional<RedisServer> server_;
};

TEST_F(RemotePaging, AGuestRunsOnItAndLeavesNothingBehind) {
    if (::access("/dev/kvm", R_OK | W_OK) != 0) GTEST_SKIP() << "no access to /dev/kvm";
    const std::string report_path = folder_.file("report");
    Child child({PENUMBRA_BINARY, "run", "--image", PENUMBRA_GUEST_IMAGES "/churn", "--memory", "48M", "--budget",
                 "16M", "--swap", server_->url(), "--swap", "zstd", "--passes", "1", "--json", report_path},
                {});
    ASSERT_EQ(child.wait(std::chrono::seconds{120}), 0);
    std::ifstream file(report_path);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const boost::json::object report = boost::json::parse(text).as_object();
    EXPECT_EQ(report.at("outcome").as_string(), "ok");
    EXPECT_NE(text.find("\"zstd\""), std::string::npos);
    EXPECT_NE(text.find("\"remote\""), std::string::npos);
    EXPECT_GT(server_->number({"EVAL", "return redis.call('INFO', 'commandstats'):find('cmdstat_set') ~= nil", "0"}), 0)
        << "pages went there";
    EXPECT_TRUE(server_->keys().empty()) << "and are gone";
}

TEST_F(RemotePaging, WhatTheStoreLostIsAnErrorThatNamesPageAndTier) {
    vmm::MemoryOptions options;
    options.memory_bytes = 32 * mebibyte;
    options.budget_bytes = 64 * mebibyte;
    options.store_url = server_->url();
    auto made = vmm::MemorySystem::create(std::move(options));
    ASSERT_TRUE(made) << made.error().message();
    vmm::MemorySystem& memory = **made;
    const std::vector<Page> pages = library_pages(64);
    for (std::uint64_t i = 0; i < pages.size(); ++i) ASSERT_TRUE(memory.write(address_of(first + i), pages[i]));
    (void)memory.evict_everything();
    ASSERT_TRUE(memory.reclaimer().wait_for_slots(memory.state().limbo->slots()));
    ASSERT_EQ(memory.state().slow.remote()->pages(), pages.size());
    Page bytes{};
    ASSERT_TRUE(memory.read(address_of(first), bytes));
    EXPECT_EQ(bytes, pages[0]);

    server_->tell({"FLUSHALL"});
    bytes.fill(std::byte{0x5A});
    const auto lost = memory.read(address_of(first + 1), bytes);
    ASSERT_FALSE(lost);
    const std::string said = lost.error().message();
    EXPECT_NE(said.find("page"), std::string::npos) << said;
    EXPECT_NE(said.find(memory.state().slow.remote()->name()), std::string::npos) << said;
}

}  // namespace
}  // namespace penumbra::test
