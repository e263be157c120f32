#include "notifier-bridge/subscriber_index.hpp"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <optional>
#include <random>
#include <string>

#include "notifier-bridge/address_space.hpp"

namespace penumbra::bridge {
namespace {

constexpr std::uint64_t filter_period = 1ULL << 20;

HvpRange pages(std::uint64_t first, std::uint64_t count) { return {Hvp{first}, count}; }

std::vector<std::uint64_t> numbers(const std::vector<SubscriberIndex::Entry>& entries) {
    std::vector<std::uint64_t> found;
    for (const auto& entry : entries) found.push_back(entry.number);
    return found;
}
std::vector<std::uint64_t> find(const SubscriberIndex& index, std::initializer_list<HvpRange> ranges) {
    const std::vector<HvpRange> list(ranges);
    return numbers(index.find(list));
}
using Found = std::vector<std::uint64_t>;

TEST(SubscriberIndexTest, FindsWhatSharesAPage) {
    SubscriberIndex index;
    EXPECT_EQ(find(index, {pages(0, 100)}), Found{});
    index.add({pages(10, 5), nullptr, 2});
    index.add({pages(12, 1), nullptr, 1});
    index.add({pages(15, 1), nullptr, 3});
    EXPECT_EQ(find(index, {pages(0, 10)}), Found{});
    EXPECT_EQ(find(index, {pages(9, 2)}), Found{2});
    EXPECT_EQ(find(index, {pages(14, 1)}), Found{2});
    EXPECT_EQ(find(index, {pages(14, 2)}), (Found{2, 3}));
    EXPECT_EQ(find(index, {pages(12, 1)}), (Found{1, 2}));
    EXPECT_EQ(find(index, {pages(10, 1), pages(14, 1)}), Found{2}) << "once, though both ranges meet it";
    EXPECT_EQ(find(index, {pages(16, 100)}), Found{});
}

TEST(SubscriberIndexTest, RangesThatTheFilterTakesForEachOtherAreToldApart) {
    SubscriberIndex index;
    index.add({pages(filter_period - 1, 2), nullptr, 1});
    index.add({pages(5 * filter_period, 3 * filter_period), nullptr, 2});
    EXPECT_EQ(find(index, {pages(filter_period - 1, 1)}), Found{1});
    EXPECT_EQ(find(index, {pages(filter_period, 1)}), Found{1});
    EXPECT_EQ(find(index, {pages(0, 1)}), Found{});
    EXPECT_EQ(find(index, {pages(filter_period + 1, 1)}), Found{});
    EXPECT_EQ(find(index, {pages(0, 20 * filter_period)}), (Found{1, 2}));
    EXPECT_EQ(find(index, {pages(7 * filter_period + 77, 1)}), Found{2});
}

TEST(SubscriberIndexTest, AgreesWithAListWhateverComesAndGoes) {
    for (std::uint64_t seed = 0; seed < 10; ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        std::mt19937_64 random(seed);
        SubscriberIndex index;
        std::vector<SubscriberIndex::Entry> list;
        const auto some_pages = [&] {
            const std::uint64_t length = random() % 10 == 0 ? 1 + random() % 3000 : 1 + random() % 8;
            return pages(random() % 5 * filter_period + random() % 4000, length);
        };
        for (std::uint64_t step = 0; step < 2000; ++step) {
            // It grows, shrinks to nothing and grows again, so that the filter is rebuilt on the way.
            const bool growing = step % 1000 < 400;
            if (growing || list.empty()) {
                list.push_back({some_pages(), nullptr, step});
                index.add(list.back());
            } else {
                std::swap(list[random() % list.size()], list.back());
                index.remove(list.back());
                list.pop_back();
            }
            const std::array asked{some_pages(), some_pages()};
            Found expected;
            for (const auto& entry : list) {
                if (entry.pages.overlaps(asked[0]) || entry.pages.overlaps(asked[1])) expected.push_back(entry.number);
            }
            std::ranges::sort(expected);
            ASSERT_EQ(numbers(index.find(asked)), expected) << "step " << step;
        }
    }
}

/// Counts what it is told.
struct Listener : Subscriber {
    explicit Listener(SubscriberOrder at) : order_(at) {}
    [[nodiscard]] std::string_view name() const override { return "listener"; }
    [[nodiscard]] SubscriberOrder order() const override { return order_; }
    [[nodiscard]] StartResult invalidate_start(const InvalidationEvent&) override {
        when = ++clock;
        ++starts;
        return answer;
    }
    void invalidate_end(const InvalidationEvent&) override { ++ends; }
    void release() override { ++releases; }

    static inline unsigned clock = 0;
    unsigned when = 0;
    unsigned starts = 0;
    unsigned ends = 0;
    unsigned releases = 0;
    StartResult answer = StartResult::done;

private:
    SubscriberOrder order_;
};

InvalidationEvent discard_of(HvpRange range, Blockable blockable = Blockable::yes) {
    InvalidationEvent event;
    event.reason = Reason::discard;
    event.blockable = blockable;
    event.ranges.add(range);
    return event;
}

TEST(RangedSubscriptionTest, OnlyThoseConcernedAreToldAndInOrder) {
    AddressSpace space;
    Listener ept(SubscriberOrder::ept);
    Listener device(SubscriberOrder::device);
    Listener elsewhere(SubscriberOrder::remote);
    Listener remote(SubscriberOrder::remote);
    const Subscription one = space.subscribe(ept);
    const Subscription two = space.subscribe(device, pages(10, 10));
    const Subscription three = space.subscribe(remote, pages(19, 10));
    const Subscription four = space.subscribe(elsewhere, pages(100, 10));
    {
        const Invalidation bracket(space, discard_of(pages(19, 1)));
        EXPECT_LT(remote.when, device.when);
        EXPECT_LT(device.when, ept.when);
        EXPECT_EQ(device.ends, 0U);
    }
    EXPECT_EQ(device.ends, 1U);
    EXPECT_EQ(remote.ends, 1U);
    EXPECT_EQ(elsewhere.starts, 0U);
    {
        const Invalidation bracket(space, discard_of(pages(50, 1)));
    }
    EXPECT_EQ(device.starts, 1U);
    EXPECT_EQ(ept.starts, 2U);
    space.release();
    for (const Listener* listener : {&ept, &device, &remote, &elsewhere}) EXPECT_EQ(listener->releases, 1U);
}

TEST(RangedSubscriptionTest, ARefusalEndsThoseThatWereStarted) {
    AddressSpace space;
    Listener ept(SubscriberOrder::ept);
    Listener first(SubscriberOrder::remote);
    const Subscription one = space.subscribe(ept);
    std::optional<Subscription> two = space.subscribe(first, pages(10, 10));
    ept.answer = StartResult::would_block;
    EXPECT_FALSE(Invalidation(space, discard_of(pages(10, 1), Blockable::no)).started());
    EXPECT_EQ(first.ends, 1U);
    EXPECT_EQ(ept.ends, 0U);
    two.reset();
    EXPECT_FALSE(Invalidation(space, discard_of(pages(10, 1), Blockable::no)).started());
    EXPECT_EQ(first.starts, 1U);
}

}  // namespace
}  // namespace penumbra::bridge
