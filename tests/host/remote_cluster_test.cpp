// A cluster of three, also while it moves slots.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "base/planted.hpp"
#include "tests/support/redis_pages.hpp"
#include "tests/support/redis_server.hpp"

namespace penumbra::vmm {
namespace {

using test::Page;
using test::read_pages;
using test::write_pages;

class RemoteClusterTest : public ::testing::Test {
protected:
    static void SetUpTestSuite() {
        if (!test::redis_is_installed()) return;
        folder_ = std::make_unique<test::RedisFolder>();
        cluster_ = std::make_unique<test::RedisCluster>(*folder_);
    }
    static void TearDownTestSuite() {
        cluster_.reset();
        folder_.reset();
    }
    void SetUp() override {
        if (!cluster_) GTEST_SKIP() << "needs redis-server and redis-tools";
        tier_ = test::open_remote(test::remote_options(cluster_->url()));
        reader_ = test::open_reader(*tier_);
        handles_ = write_pages(*tier_, test::items_of(pages_)).handles();
    }
    /// Slots with pages in them that node 0 serves, at most `most`.
    [[nodiscard]] std::vector<unsigned> slots_of_node(unsigned node, std::size_t most) const {
        std::vector<unsigned> slots;
        for (const std::string& key : cluster_->node(node).keys()) slots.push_back(cluster_slot(key));
        std::ranges::sort(slots);
        slots.erase(std::unique(slots.begin(), slots.end()), slots.end());
        slots.resize(std::min(most, slots.size()));
        return slots;
    }
    void expect_all_there() {
        const auto read = read_pages(*reader_, handles_);
        EXPECT_TRUE(read.result) << read.message();
        EXPECT_TRUE(read.pages == pages_);
    }

    inline static std::unique_ptr<test::RedisFolder> folder_;
    inline static std::unique_ptr<test::RedisCluster> cluster_;
    const std::vector<Page> pages_ = test::noise_pages(300);
    std::unique_ptr<RemoteTier> tier_;
    std::unique_ptr<RemoteReader> reader_;
    std::vector<StoreHandle> handles_;
};

TEST_F(RemoteClusterTest, SlotsThatAreBeingMovedAreFollowedWithAskAndMoved) {
    const std::vector<unsigned> slots = slots_of_node(0, 20);
    ASSERT_GE(slots.size(), 10U);
    for (const unsigned slot : slots) cluster_->open_slot(slot, 0, 1);
    expect_all_there();  // no key has left
    for (const unsigned slot : slots) (void)cluster_->move_keys(slot, 0, 1, 1);
    const std::uint64_t before = tier_->health().redirections;
    expect_all_there();
    EXPECT_GT(tier_->health().redirections, before);
    // New keys of such slots go to the target, and leave it.
    const auto fresh = test::noise_pages(300, 5);
    const auto items = test::items_of(fresh, 2);
    std::vector<StoreHandle> more;
    for (unsigned turn = 0; turn < 10; ++turn) {
        const auto written = write_pages(*tier_, items);
        EXPECT_TRUE(written.result) << written.message();
        const auto handles = written.handles();
        more.insert(more.end(), handles.begin(), handles.end());
    }
    tier_->drop_batch(more);
    EXPECT_TRUE(test::comes_true([&] { return cluster_->keys() == pages_.size(); }));
    for (const unsigned slot : slots) cluster_->close_slot(slot, 0, 1);
    expect_all_there();
    expect_all_there();
    EXPECT_TRUE(write_pages(*tier_, items).result);
    for (const unsigned slot : slots) EXPECT_EQ(cluster_->serving(slot), 1U);
    for (const unsigned slot : slots) {  // back, for the other tests
        cluster_->open_slot(slot, 1, 0);
        cluster_->close_slot(slot, 1, 0);
    }
    expect_all_there();
    reader_.reset();
    tier_.reset();
    EXPECT_EQ(cluster_->keys(), 0U);
}

TEST_F(RemoteClusterTest, WritersAndReadersGoOnWhileSlotsMove) {
    std::atomic<bool> done{false};
    std::atomic<std::size_t> wrong{0};
    std::string first_failure;
    std::jthread reads([&] {
        while (!done.load()) {
            const auto read = read_pages(*reader_, handles_);
            if (read.result && read.pages == pages_) continue;
            if (wrong.fetch_add(1) == 0) first_failure = read.message();
        }
    });
    std::jthread writes([&] {
        const auto fresh = test::noise_pages(100, 6);
        const auto items = test::items_of(fresh, 3);
        while (!done.load()) {
            const auto written = write_pages(*tier_, items);
            if (!written.result) wrong.fetch_add(1);
            std::vector<StoreHandle> stored;
            for (const auto& outcome : written.outcomes) {
                if (outcome.stored()) stored.push_back(outcome.handle);
            }
            tier_->drop_batch(stored);
        }
    });
    for (const unsigned slot : slots_of_node(2, 25)) {
        cluster_->open_slot(slot, 2, 0);
        while (cluster_->move_keys(slot, 2, 0, 1) > 0) {
        }
        cluster_->close_slot(slot, 2, 0);
    }
    done.store(true);
    reads.join();
    writes.join();
    EXPECT_EQ(wrong.load(), 0U) << first_failure;
    EXPECT_GT(tier_->health().redirections, 0U);
    expect_all_there();
    EXPECT_TRUE(test::comes_true([&] { return cluster_->keys() == pages_.size(); }));
}

#if defined(PENUMBRA_TEST_SWITCHES)
TEST_F(RemoteClusterTest, ForgottenRedirectionsAreNoticed) {
    const std::vector<unsigned> slots = slots_of_node(1, 5);
    for (const unsigned slot : slots) cluster_->open_slot(slot, 1, 2);
    for (const unsigned slot : slots) (void)cluster_->move_keys(slot, 1, 2, 100);
    {
        const Planted silent{Plant::remote_skips_asking};
        EXPECT_GE(read_pages(*reader_, handles_).count(StoreFailure::io), slots.size());
    }
    expect_all_there();
    const auto unaware = test::open_reader(*tier_);  // its map is from before the move
    for (const unsigned slot : slots) cluster_->close_slot(slot, 1, 2);
    {
        const Planted stubborn{Plant::remote_ignores_moved};
        EXPECT_GE(read_pages(*unaware, handles_).count(StoreFailure::io), slots.size());
    }
    expect_all_there();
    for (const unsigned slot : slots) {
        cluster_->open_slot(slot, 2, 1);
        cluster_->close_slot(slot, 2, 1);
    }
}
#endif

TEST_F(RemoteClusterTest, PagesSpreadOverAllNodesAndANodeThatIsGoneFailsItsOwnOnly) {
    for (unsigned node = 0; node < test::RedisCluster::size; ++node) {
        EXPECT_GT(cluster_->node(node).keys().size(), pages_.size() / 6);
    }
    expect_all_there();
    test::RedisServer& gone = cluster_->node(2);
    const std::size_t there = gone.keys().size();
    gone.tell({"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"});
    expect_all_there();  // connections that ended are made anew
    gone.stop();
    const auto read = read_pages(*reader_, handles_);
    EXPECT_EQ(read.count(StoreFailure::io), there);
    EXPECT_TRUE(read.nothing_wrong(pages_));
    EXPECT_NE(read.message().find(std::to_string(gone.port())), std::string::npos) << read.message();
    gone.start();
    EXPECT_TRUE(test::comes_true([&] { return read_pages(*reader_, handles_).count(StoreFailure::io) == 0; }));
    EXPECT_EQ(read_pages(*reader_, handles_).count(StoreFailure::corrupt), there) << "it came back empty";
}

}  // namespace
}  // namespace penumbra::vmm
