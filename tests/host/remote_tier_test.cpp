#include "vmm/memory/tier/remote/remote_tier.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "base/planted.hpp"
#include "tests/support/redis_pages.hpp"
#include "tests/support/redis_server.hpp"
#include "vmm/memory/tier/page_codec.hpp"

namespace penumbra::vmm {
namespace {

using test::Page;
using test::read_pages;
using test::write_pages;
using namespace std::chrono_literals;

class RemoteTierTest : public ::testing::Test {
protected:
    void SetUp() override {
        if (!test::redis_is_installed()) GTEST_SKIP() << "needs redis-server and redis-tools";
        server_ = std::make_unique<test::RedisServer>(folder_, "redis");
    }
    [[nodiscard]] std::unique_ptr<RemoteTier> open(std::uint64_t bytes = 64ULL << 20) const {
        auto options = test::remote_options(server_->url());
        options.capacity_bytes = bytes;
        return test::open_remote(options);
    }
    [[nodiscard]] bool store_holds(std::size_t keys) {
        return test::comes_true([&] { return server_->keys().size() == keys; });
    }

    test::RedisFolder folder_;
    std::unique_ptr<test::RedisServer> server_;
};

TEST_F(RemoteTierTest, RealAndRandomPagesComeBackRawAndAsBlobs) {
    const auto tier = open();
    auto pages = test::library_pages(400);
    for (Page& page : test::noise_pages(100)) pages.push_back(page);
    auto items = test::items_of(pages);
    PageCompressor compressor;
    std::vector<Page> blobs(pages.size());
    std::size_t compressed = 0;
    for (std::size_t i = 0; i < pages.size(); i += 2) {
        const Codec codec = i % 4 == 0 ? Codec::lz4 : Codec::zstd;
        const std::size_t length = compressor.compress(codec, ConstPageBytes{pages[i]}, blobs[i]);
        if (length == 0) continue;
        items[i].bytes = blobs[i].data();
        items[i].length = static_cast<std::uint16_t>(length);
        items[i].encoding = encoding_of(codec);
        ++compressed;
    }
    ASSERT_GT(compressed, 100U);
    const auto written = write_pages(*tier, items);
    ASSERT_TRUE(written.result) << written.message();
    EXPECT_EQ(tier->pages(), pages.size());
    EXPECT_EQ(server_->keys().size(), pages.size());
    EXPECT_LE(tier->bookkeeping_bytes(), 24 * pages.size());
    const auto reader = test::open_reader(*tier);
    const auto read = read_pages(*reader, written.handles());
    ASSERT_TRUE(read.result) << read.message();
    EXPECT_TRUE(read.pages == pages);
    EXPECT_EQ(tier->health().state, RemoteState::good);
    EXPECT_TRUE(tier->matches(written.handles()[7], {test::test_vm, 7}, ConstPageBytes{pages[7]}));
    EXPECT_FALSE(tier->matches(written.handles()[7], {test::test_vm, 7}, ConstPageBytes{pages[8]}));
    EXPECT_FALSE(tier->matches(written.handles()[7], {test::test_vm, 8}, ConstPageBytes{pages[7]}));
    Page out{};
    EXPECT_EQ(reader->read(written.handles()[7], {test::test_vm, 8}, out).error().failure, StoreFailure::corrupt);
    EXPECT_EQ(reader->read(written.handles()[7], {test::test_vm + 1, 7}, out).error().failure, StoreFailure::corrupt);
}

TEST_F(RemoteTierTest, DroppedPagesLeaveTheStoreAndMakeRoom) {
    const auto tier = open(256ULL << 10);
    const auto pages = test::noise_pages(64);
    const auto items = test::items_of(pages);
    auto handles = write_pages(*tier, items).handles();
    const auto full = write_pages(*tier, {items[0]});
    ASSERT_FALSE(full.result);
    EXPECT_EQ(full.outcomes[0].failure, StoreFailure::full);
    EXPECT_NE(full.message().find(tier->name()), std::string::npos) << full.message();
    const std::size_t dropped = 20;
    tier->drop_batch(std::span{handles}.first(dropped));
    EXPECT_EQ(tier->pages(), 64 - dropped);
    const auto reader = test::open_reader(*tier);
    Page out{};
    EXPECT_EQ(reader->read(handles[3], {test::test_vm, 3}, out).error().failure, StoreFailure::corrupt);
    // At once, although the store may not have forgotten them yet.
    const auto again = write_pages(*tier, {items.begin(), items.begin() + dropped});
    ASSERT_TRUE(again.result) << again.message();
    EXPECT_TRUE(store_holds(64));
    std::ranges::copy(again.handles(), handles.begin());
    tier->drop_batch(std::span{handles}.last(44));
    EXPECT_TRUE(store_holds(20));
    const auto left = read_pages(*reader, again.handles());
    ASSERT_TRUE(left.result) << left.message();
}

TEST_F(RemoteTierTest, NothingIsLeftOnTheStoreAfterTheEnd) {
    server_->tell({"SET", "another-program", "stays"});
    const auto fresh = test::noise_pages(700);
    const auto items = test::items_of(fresh);
    {
        const auto other = open();
        const auto kept = write_pages(*other, {items.begin(), items.begin() + 10});
        {
            const auto tier = open();
            ASSERT_TRUE(write_pages(*tier, items).result);
            EXPECT_EQ(server_->keys(tier->key_prefix() + "*").size(), 700U);
            EXPECT_NE(tier->key_prefix(), other->key_prefix());
        }
        EXPECT_EQ(server_->keys().size(), 10U) << "only its own";
        const auto reader = test::open_reader(*other);
        EXPECT_TRUE(read_pages(*reader, kept.handles()).result);
        EXPECT_TRUE(other->clear());
        EXPECT_EQ(server_->keys().size(), 0U);
    }
    EXPECT_EQ(server_->text({"GET", "another-program"}), "stays");
}

TEST_F(RemoteTierTest, EveryKeyExpiresAfterAKill) {
    test::Pipe ready;
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        auto options = test::remote_options(server_->url());
        options.expiry = shortest_expiry;
        const auto tier = test::open_remote(options);
        const auto pages = test::noise_pages(50);
        const bool stored = write_pages(*tier, test::items_of(pages)).result.has_value();
        std::this_thread::sleep_for(3 * shortest_expiry / 2);  // only what is renewed lives so long
        if (::write(ready.to.get(), stored ? "1" : "0", 1) == 1) ::pause();
        ::_exit(1);
    }
    char answer = 0;
    ASSERT_EQ(::read(ready.from.get(), &answer, 1), 1);
    EXPECT_EQ(answer, '1');
    EXPECT_EQ(server_->keys().size(), 50U);
    for (const std::string& key : server_->keys()) EXPECT_GT(server_->number({"PTTL", key}), 0);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    EXPECT_TRUE(store_holds(0));
}

TEST_F(RemoteTierTest, PagesOutliveTheirExpiryWhileTheVmLives) {
    auto options = test::remote_options(server_->url());
    options.expiry = shortest_expiry;
    const auto tier = test::open_remote(options);
    const auto pages = test::noise_pages(600);
    const auto handles = write_pages(*tier, test::items_of(pages)).handles();
    const auto reader = test::open_reader(*tier);
    std::this_thread::sleep_for(3 * options.expiry / 2);
    EXPECT_TRUE(read_pages(*reader, handles).result);
    EXPECT_EQ(tier->health().lost_pages, 0U);
#if defined(PENUMBRA_TEST_SWITCHES)
    const Planted forgotten{Plant::remote_forgets_renewal};
    EXPECT_TRUE(store_holds(0));
    const auto lost = read_pages(*reader, handles);
    EXPECT_EQ(lost.count(StoreFailure::corrupt), handles.size());
#endif
}

TEST_F(RemoteTierTest, ARestartedServerHasLostThePagesAndTakesNewOnes) {
    const auto tier = open();
    const auto pages = test::noise_pages(40);
    const auto items = test::items_of(pages);
    const auto handles = write_pages(*tier, items).handles();
    const auto reader = test::open_reader(*tier);
    server_->stop();
    server_->start();
    const auto lost = read_pages(*reader, handles);
    EXPECT_EQ(lost.count(StoreFailure::corrupt), handles.size());
    EXPECT_NE(lost.message().find(", page "), std::string::npos) << lost.message();
    EXPECT_NE(lost.message().find(server_->socket()), std::string::npos) << lost.message();
    EXPECT_NE(lost.message().find("lost"), std::string::npos) << lost.message();
    const auto written = write_pages(*tier, items);
    ASSERT_TRUE(written.result) << written.message();
    EXPECT_TRUE(read_pages(*reader, written.handles()).pages == pages);
    tier->drop_batch(handles);
    EXPECT_TRUE(test::comes_true([&] { return tier->health().pending_drops == 0; }));
    EXPECT_EQ(server_->keys().size(), 40U);
}

TEST_F(RemoteTierTest, TcpDatabasesUsersAndPasswordsServe) {
    test::RedisServer server{folder_, "guarded", {"--requirepass", "all:of@it"}, test::RedisServer::Listen::tcp_too};
    server.tell({"AUTH", "all:of@it"});
    server.tell({"ACL", "SETUSER", "vm", "on", ">word", "~penumbra:*", "+set", "+get", "+unlink", "+pexpire", "+info",
                 "+select"});
    const std::string at = "127.0.0.1:" + std::to_string(server.port());
    for (const std::string& url : {"redis://:all%3Aof%40it@" + at + "/3", "redis://vm:word@" + at + "/3"}) {
        const auto tier = test::open_remote(test::remote_options(url));
        const auto pages = test::noise_pages(40);
        const auto written = write_pages(*tier, test::items_of(pages));
        ASSERT_TRUE(written.result) << written.message();
        EXPECT_EQ(server.keys().size(), 0U);
        server.tell({"SELECT", "3"});
        EXPECT_EQ(server.keys().size(), 40U);
        server.tell({"SELECT", "0"});
        EXPECT_TRUE(read_pages(*test::open_reader(*tier), written.handles()).pages == pages);
        EXPECT_EQ(tier->name().find("word"), std::string::npos);
    }
}

TEST_F(RemoteTierTest, ReadersWriterAndDropsRunTogether) {
    const auto tier = open(4ULL << 20);
    constexpr std::size_t count = 96;
    const auto pages = test::noise_pages(count);
    std::array<std::atomic<std::uint64_t>, count> words{};  // handle << 16 | version + 1; 0: not stored
    std::atomic<bool> done{false};
    std::atomic<std::uint64_t> wrong{0};
    const auto page_of = [&](std::size_t at, std::uint64_t version) -> const Page& {
        return pages[(at + version) % count];
    };
    std::vector<std::jthread> readers;
    for (unsigned seed = 0; seed < 2; ++seed) {
        readers.emplace_back([&, seed] {
            const auto reader = test::open_reader(*tier);
            std::mt19937 random{seed};
            Page out{};
            while (!done.load()) {
                const std::size_t at = random() % count;
                const std::uint64_t word = words[at].load();
                if (word == 0) continue;
                const auto read = reader->read(StoreHandle{word >> 16}, {test::test_vm, at}, out);
                if (words[at].load() == word && (!read || out != page_of(at, word % 65536 - 1))) wrong.fetch_add(1);
            }
        });
    }
    for (std::uint64_t version = 0; version < 30; ++version) {
        std::vector<RemoteItem> items;
        for (std::size_t at = 0; at < count; ++at) {
            items.push_back(RemoteItem::of_page({test::test_vm, at, version}, page_of(at, version)));
        }
        const auto written = write_pages(*tier, items);
        ASSERT_TRUE(written.result) << written.message();
        for (std::size_t at = 0; at < count; ++at) {
            const auto word = static_cast<std::uint64_t>(written.outcomes[at].handle) << 16 | (version + 1);
            if (const std::uint64_t old = words[at].exchange(word); old != 0) tier->drop(StoreHandle{old >> 16});
        }
    }
    done.store(true);
    readers.clear();
    EXPECT_EQ(wrong.load(), 0U);
    EXPECT_EQ(tier->pages(), count);
    EXPECT_TRUE(store_holds(count));
}

}  // namespace
}  // namespace penumbra::vmm
