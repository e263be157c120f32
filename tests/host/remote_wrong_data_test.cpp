// Answers that are not what was stored.
#include <gtest/gtest.h>

#include "base/planted.hpp"
#include "tests/support/redis_pages.hpp"
#include "tests/support/redis_server.hpp"

namespace penumbra::vmm {
namespace {

using test::Page;
using test::read_pages;
using test::write_pages;

class RemoteWrongDataTest : public ::testing::Test {
protected:
    void SetUp() override {
        if (!test::redis_is_installed()) GTEST_SKIP() << "needs redis-server and redis-tools";
        server_ = std::make_unique<test::RedisServer>(folder_, "redis");
        tier_ = test::open_remote(test::remote_options(server_->url()));
        reader_ = test::open_reader(*tier_);
        handles_ = write_pages(*tier_, test::items_of(pages_)).handles();
        keys_ = server_->keys();  // sorted: in the order of pages
        ASSERT_EQ(keys_.size(), pages_.size());
    }
    /// What the tier says of page 1, whose key holds `value` now; the others must come as they are.
    [[nodiscard]] std::string told_of(const std::string& value) {
        server_->tell({"SET", keys_[1], value});
        return told();
    }
    [[nodiscard]] std::string told() {
        const auto read = read_pages(*reader_, handles_);
        for (std::size_t i = 0; i < pages_.size(); ++i) {
            if (i == 1) continue;
            EXPECT_TRUE(read.outcomes[i].stored()) << i;
            EXPECT_EQ(read.pages[i], pages_[i]) << i;
        }
        EXPECT_EQ(read.outcomes[1].failure, StoreFailure::corrupt) << read.message();
        EXPECT_NE(read.message().find("page 1"), std::string::npos) << read.message();
        EXPECT_NE(read.message().find(server_->socket()), std::string::npos) << read.message();
        return read.message();
    }
    static ::testing::AssertionResult says(const std::string& message, const char* part) {
        if (message.find(part) != std::string::npos) return ::testing::AssertionSuccess();
        return ::testing::AssertionFailure() << message;
    }

    const std::vector<Page> pages_ = test::noise_pages(5);
    test::RedisFolder folder_;
    std::unique_ptr<test::RedisServer> server_;
    std::unique_ptr<RemoteTier> tier_;
    std::unique_ptr<RemoteReader> reader_;
    std::vector<StoreHandle> handles_;
    std::vector<std::string> keys_;
};

TEST_F(RemoteWrongDataTest, OverwrittenValuesAreCorruptAndNamed) {
    const std::string good = server_->text({"GET", keys_[1]});
    EXPECT_TRUE(says(told_of(""), "never stored"));
    EXPECT_TRUE(says(told_of("hello"), "never stored"));
    EXPECT_TRUE(says(told_of(std::string(good.size(), 'x')), "never stored"));
    EXPECT_TRUE(says(told_of(server_->text({"GET", keys_[2]})), "another page"));
    EXPECT_TRUE(says(told_of(good.substr(0, good.size() - 1)), "check"));
    EXPECT_TRUE(says(told_of(good + "x"), "check"));
    for (const std::size_t at : {std::size_t{6}, std::size_t{9}, std::size_t{24}, std::size_t{1000}, good.size() - 1}) {
        std::string flipped = good;
        flipped[at] = static_cast<char>(flipped[at] ^ 4);
        EXPECT_TRUE(says(told_of(flipped), "check")) << at;
    }
    server_->tell({"DEL", keys_[1]});
    EXPECT_TRUE(says(told(), "lost"));
    server_->tell({"RPUSH", keys_[1], "a list"});
    EXPECT_TRUE(says(told(), "WRONGTYPE"));
    server_->tell({"SET", keys_[1], good});
    EXPECT_TRUE(read_pages(*reader_, handles_).result);
}

TEST_F(RemoteWrongDataTest, AnotherVmsValueIsCorrupt) {
    const auto other = test::open_remote(test::remote_options(server_->url()));
    const auto item = RemoteItem::of_page({test::test_vm + 1, 1, 1}, pages_[1]);
    ASSERT_TRUE(write_pages(*other, {item}).result);
    EXPECT_TRUE(says(told_of(server_->text({"GET", server_->keys(other->key_prefix() + "*").at(0)})), "check"));
}

/// Puts back what page 1 was, then what its newer version was, and answers whether the tier handed out the old one.
[[nodiscard]] bool hands_out_old(test::RedisServer& server, RemoteTier& tier, RemoteReader& reader) {
    const auto pages = test::noise_pages(2, 9);
    const auto written = [&](std::size_t which) {
        const auto item = RemoteItem::of_page({test::test_vm, 1, which + 2}, pages[which]);
        return write_pages(tier, {item}).handles().at(0);
    };
    const auto newest = [&] { return server.keys(tier.key_prefix() + "0000001:*").back(); };
    (void)written(0);
    const std::string old = server.text({"GET", newest()});
    const StoreHandle handle = written(1);
    const std::string current = server.text({"GET", newest()});
    EXPECT_NE(old, current);
    server.tell({"SET", newest(), old});
    Page out{};
    const auto read = reader.read(handle, {test::test_vm, 1}, out);
    server.tell({"SET", newest(), current});
    if (!read) {
        EXPECT_EQ(read.error().failure, StoreFailure::corrupt);
        EXPECT_NE(read.error().error.message().find("version"), std::string::npos) << read.error().error.message();
        Page again{};
        EXPECT_TRUE(reader.read(handle, {test::test_vm, 1}, again));
        EXPECT_EQ(again, pages[1]);
    }
    return read && out == pages[0];
}

TEST_F(RemoteWrongDataTest, AnEarlierVersionThatIsPutBackIsCorrupt) {
    EXPECT_FALSE(hands_out_old(*server_, *tier_, *reader_));
#if defined(PENUMBRA_TEST_SWITCHES)
    const Planted trusting{Plant::remote_ignores_version};
    EXPECT_TRUE(hands_out_old(*server_, *tier_, *reader_)) << "the planted bug is what the check is for";
#endif
}

#if defined(PENUMBRA_TEST_SWITCHES)
TEST_F(RemoteWrongDataTest, ABitThatFlipsOnTheWayOutIsFound) {
    std::vector<StoreHandle> bad;
    {
        const Planted flip{Plant::corrupt_stored_page};
        bad = write_pages(*tier_, test::items_of(pages_)).handles();
    }
    EXPECT_EQ(read_pages(*reader_, bad).count(StoreFailure::corrupt), pages_.size());
}
#endif

}  // namespace
}  // namespace penumbra::vmm
