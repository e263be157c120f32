// Networks and servers that fail in the middle.
#include <gtest/gtest.h>
#include <signal.h>

#include <random>

#include "base/planted.hpp"
#include "tests/support/redis_pages.hpp"
#include "tests/support/redis_proxy.hpp"
#include "tests/support/redis_server.hpp"

namespace penumbra::vmm {
namespace {

using test::Page;
using test::read_pages;
using test::write_pages;
using namespace std::chrono_literals;

class RemoteFailureTest : public ::testing::Test {
protected:
    void SetUp() override {
        if (!test::redis_is_installed()) GTEST_SKIP() << "needs redis-server and redis-tools";
        server_ = std::make_unique<test::RedisServer>(folder_, "redis");
        proxy_ = std::make_unique<test::RedisProxy>(folder_.file("proxy"), server_->socket());
    }
    [[nodiscard]] std::unique_ptr<RemoteTier> open(std::chrono::milliseconds answer_timeout = 5s) const {
        auto options = test::remote_options("redis+unix://" + folder_.file("proxy"));
        options.answer_timeout = answer_timeout;
        options.connect_timeout = std::min<std::chrono::milliseconds>(options.connect_timeout, 3 * answer_timeout);
        return test::open_remote(options);
    }
    /// Every page that the tier knows is there, and nothing else, once it has had time to tidy up.
    [[nodiscard]] bool comes_to_rest(const RemoteTier& tier) {
        return test::comes_true(
            [&] { return tier.health().pending_drops == 0 && server_->keys().size() == tier.pages(); });
    }

    test::RedisFolder folder_;
    std::unique_ptr<test::RedisServer> server_;
    std::unique_ptr<test::RedisProxy> proxy_;
    const std::vector<Page> pages_ = test::noise_pages(60);
    const std::vector<RemoteItem> items_ = test::items_of(pages_);
};

TEST_F(RemoteFailureTest, AConnectionThatBreaksOnceIsNotNoticed) {
    const auto tier = open();
    const auto reader = test::open_reader(*tier);
    const auto handles = write_pages(*tier, items_).handles();
    std::mt19937 random{1};
    for (unsigned turn = 0; turn < 20; ++turn) {
        proxy_->cut_after(static_cast<std::int64_t>(random() % (60 * 5)));  // +OK each
        const auto written = write_pages(*tier, items_);
        EXPECT_TRUE(written.result) << written.message();
        tier->drop_batch(written.handles());
        proxy_->cut_after(static_cast<std::int64_t>(random() % (60 * 4096)));
        const auto read = read_pages(*reader, handles);
        EXPECT_TRUE(read.result) << read.message();
        EXPECT_TRUE(read.pages == pages_);
        proxy_->cut_after(test::RedisProxy::never);
    }
    EXPECT_GE(proxy_->cuts(), 30U);
    EXPECT_TRUE(comes_to_rest(*tier));
}

TEST_F(RemoteFailureTest, AConnectionThatAlwaysBreaksIsAnErrorUntilItHeals) {
    const auto tier = open();
    const auto reader = test::open_reader(*tier);
    const auto handles = write_pages(*tier, items_).handles();
    proxy_->cut_each_after(20'000);  // enough to introduce oneself
    const auto read = read_pages(*reader, handles);
    EXPECT_GT(read.count(StoreFailure::io), 0U);
    EXPECT_EQ(read.count(StoreFailure::corrupt), 0U);
    EXPECT_TRUE(read.nothing_wrong(pages_));
    EXPECT_NE(read.message().find("page "), std::string::npos) << read.message();
    // What the host says of a connection that the other end cut depends on who was at it: a reader or a writer.
    EXPECT_TRUE(read.message().contains("reset") || read.message().contains("Broken pipe")) << read.message();
    EXPECT_EQ(tier->health().state, RemoteState::failing);
    proxy_->cut_each_after(test::RedisProxy::never);
    const auto healed = read_pages(*reader, handles);
    EXPECT_TRUE(healed.result) << healed.message();
    EXPECT_TRUE(healed.pages == pages_);
    EXPECT_EQ(tier->health().state, RemoteState::good);
}

TEST_F(RemoteFailureTest, NoFlippedBitIsEverHandedOut) {
    const auto tier = open(600ms);
    const auto reader = test::open_reader(*tier);
    const auto handles = write_pages(*tier, items_).handles();
    std::mt19937 random{2};
    unsigned noticed = 0;
    for (unsigned turn = 0; turn < 60; ++turn) {
        // Every other time in the few bytes that are protocol, header or end of a page.
        const auto at = turn % 2 == 0 ? random() % 40 + 4130 * (random() % 3) : random() % (30 * 4096);
        proxy_->flip_after(static_cast<std::int64_t>(at));
        const auto read = read_pages(*reader, handles);
        EXPECT_TRUE(read.nothing_wrong(pages_)) << turn;
        noticed += read.result ? 0U : 1U;
        proxy_->flip_after(test::RedisProxy::never);
    }
    EXPECT_GE(noticed, 50U);
    EXPECT_TRUE(test::comes_true([&] { return read_pages(*reader, handles).result.has_value(); }));
}

/// Lets answers come too late once, then asks again; what went wrong then.
[[nodiscard]] std::size_t failures_after_lateness(test::RedisProxy& proxy, RemoteTier& tier,
                                                  const std::vector<StoreHandle>& handles,
                                                  const std::vector<Page>& pages) {
    const auto reader = test::open_reader(tier);
    proxy.delay(550ms);
    const auto late = read_pages(*reader, handles);
    EXPECT_GE(late.count(StoreFailure::io), RemoteReader::depth);
    EXPECT_NE(late.message().find("timed out"), std::string::npos) << late.message();
    proxy.delay(0ms);
    std::this_thread::sleep_for(650ms);  // the late answers are there now
    std::vector<StoreHandle> others{handles.rbegin(), handles.rend()};
    std::size_t failures = 0;
    Page out{};
    for (std::size_t i = 0; i < pages.size(); ++i) {
        const std::size_t page = pages.size() - 1 - i;
        const auto read = reader->read(handles[page], {test::test_vm, page}, out);
        failures += read && out == pages[page] ? 0U : 1U;
    }
    return failures;
}

TEST_F(RemoteFailureTest, AnAnswerThatComesTooLateIsNoOthersAnswer) {
    const auto tier = open(400ms);
    const auto handles = write_pages(*tier, items_).handles();
    EXPECT_EQ(failures_after_lateness(*proxy_, *tier, handles, pages_), 0U);
#if defined(PENUMBRA_TEST_SWITCHES)
    const Planted broken{Plant::remote_keeps_broken};
    EXPECT_GT(failures_after_lateness(*proxy_, *tier, handles, pages_), 0U);
#endif
}

TEST_F(RemoteFailureTest, AStoppedServerIsWaitedForOnceAndWhatItDidLaterIsTidiedUp) {
    const auto tier = open(400ms);
    const auto reader = test::open_reader(*tier);
    const auto handles = write_pages(*tier, items_).handles();
    server_->process().send(SIGSTOP);
    const auto began = std::chrono::steady_clock::now();
    const auto read = read_pages(*reader, handles);
    const auto written = write_pages(*tier, items_);
    // Four pipelines, none of them waited for twice, nor longer for a connection than that may take.
    EXPECT_LT(std::chrono::steady_clock::now() - began, 4 * (400ms + 1200ms));
    EXPECT_EQ(read.count(StoreFailure::io), handles.size());
    EXPECT_FALSE(written.result);
    EXPECT_EQ(written.result.error().error.error_number, ETIMEDOUT) << written.message();
    EXPECT_EQ(tier->pages(), handles.size());
    EXPECT_GT(tier->health().pending_drops, 0U) << "the server may still store them";
    server_->process().send(SIGCONT);
    EXPECT_TRUE(comes_to_rest(*tier));
    EXPECT_TRUE(test::comes_true([&] { return read_pages(*reader, handles).result.has_value(); }));
    EXPECT_TRUE(read_pages(*reader, handles).pages == pages_);
}

TEST_F(RemoteFailureTest, APausedServerIsIoAndHarmsNothing) {
    const auto tier = open(400ms);
    const auto handles = write_pages(*tier, items_).handles();
    server_->tell({"CLIENT", "PAUSE", "1000", "WRITE"});
    const auto written = write_pages(*tier, items_);
    EXPECT_EQ(written.result.error().failure, StoreFailure::io);
    const auto reader = test::open_reader(*tier);
    EXPECT_TRUE(read_pages(*reader, handles).pages == pages_) << "only writes are paused";
    EXPECT_TRUE(test::comes_true([&] { return write_pages(*tier, items_).result.has_value(); }));
    EXPECT_TRUE(comes_to_rest(*tier));
}

TEST_F(RemoteFailureTest, ADeadServerFailsAtOnceAndDropsWaitForIt) {
    const auto tier = open();
    const auto reader = test::open_reader(*tier);
    const auto handles = write_pages(*tier, items_).handles();
    server_->process().send(SIGSTOP);
    proxy_.reset();  // connections end, and nobody listens
    const auto began = std::chrono::steady_clock::now();
    for (unsigned turn = 0; turn < 200; ++turn) {
        const auto read = read_pages(*reader, handles);
        EXPECT_EQ(read.count(StoreFailure::io), handles.size());
    }
    EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);
    tier->drop_batch(handles);
    EXPECT_EQ(tier->pages(), 0U);
    EXPECT_EQ(tier->health().pending_drops, handles.size());
    server_->process().send(SIGCONT);
    std::filesystem::remove(folder_.file("proxy"));
    proxy_ = std::make_unique<test::RedisProxy>(folder_.file("proxy"), server_->socket());
    EXPECT_TRUE(test::comes_true([&] { return server_->keys().empty() && tier->health().pending_drops == 0; }));
    EXPECT_GE(tier->health().failures, 1U);
}

}  // namespace
}  // namespace penumbra::vmm
