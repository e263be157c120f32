#include "notifier-bridge/address_space.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <string>
#include <thread>

#include "base/planted.hpp"
#include "notifier-bridge/source/memory_ops.hpp"
#include "notifier-bridge/source/scripted_source.hpp"

namespace penumbra::bridge {
namespace {

using Log = std::vector<std::string>;

/// Writes down what it is told, and answers as it is told to.
class Recorder : public Subscriber {
public:
    Recorder(std::string name, SubscriberOrder order, Log& log) : name_(std::move(name)), order_(order), log_(log) {}

    [[nodiscard]] std::string_view name() const override { return name_; }
    [[nodiscard]] SubscriberOrder order() const override { return order_; }
    [[nodiscard]] StartResult invalidate_start(const InvalidationEvent&) override {
        log_.push_back("start " + name_);
        return answer;
    }
    void invalidate_end(const InvalidationEvent&) override { log_.push_back("end " + name_); }
    void release() override { log_.push_back("release " + name_); }

    StartResult answer = StartResult::done;

private:
    std::string name_;
    SubscriberOrder order_;
    Log& log_;
};

InvalidationEvent discard_of(std::uint64_t first, std::uint64_t pages, Blockable blockable = Blockable::yes) {
    InvalidationEvent event;
    event.reason = Reason::discard;
    event.blockable = blockable;
    event.ranges.add(HvpRange{Hvp{first}, pages});
    return event;
}

class AddressSpaceTest : public testing::Test {
protected:
    Log log_;
    Recorder ept_{"ept", SubscriberOrder::ept, log_};
    Recorder device_{"device", SubscriberOrder::device, log_};
    Recorder remote_{"remote", SubscriberOrder::remote, log_};
    AddressSpace space_;
};

TEST_F(AddressSpaceTest, StartsDevicesFirstAndEndsInReverse) {
    Recorder second("second", SubscriberOrder::device, log_);
    const Subscription one = space_.subscribe(ept_);
    const Subscription two = space_.subscribe(device_);
    const Subscription three = space_.subscribe(remote_);
    const Subscription four = space_.subscribe(second);
    {
        const Invalidation bracket(space_, discard_of(1, 2));
        EXPECT_TRUE(bracket.started());
        EXPECT_EQ(log_, (Log{"start remote", "start device", "start second", "start ept"}));
        log_.clear();
    }
    EXPECT_EQ(log_, (Log{"end ept", "end second", "end device", "end remote"}));
}

TEST_F(AddressSpaceTest, WouldBlockEndsThoseThatWereStarted) {
    const Subscription one = space_.subscribe(ept_);
    const Subscription two = space_.subscribe(device_);
    const Subscription three = space_.subscribe(remote_);
    device_.answer = StartResult::would_block;
    {
        const Invalidation bracket(space_, discard_of(1, 2, Blockable::no));
        EXPECT_FALSE(bracket.started());
    }
    EXPECT_EQ(log_, (Log{"start remote", "start device", "end remote"}));
    EXPECT_EQ(space_.stats().would_block.get(), 1U);
    EXPECT_EQ(space_.stats().batches.get(), 0U);
    EXPECT_EQ(space_.stats().pages_by_reason[static_cast<std::size_t>(Reason::discard)].get(), 0U);
    device_.answer = StartResult::done;
    EXPECT_TRUE(Invalidation(space_, discard_of(1, 2, Blockable::no)).started());
}

TEST_F(AddressSpaceTest, CountsPagesByReason) {
    discard(space_, RangeSet(HvpRange{Hvp{3}, 5}), [] {});
    EXPECT_EQ(space_.stats().batches.get(), 1U);
    EXPECT_EQ(space_.stats().pages_by_reason[static_cast<std::size_t>(Reason::discard)].get(), 5U);
}

TEST_F(AddressSpaceTest, SubscribersComeAndGo) {
    Subscription first = space_.subscribe(device_);
    Subscription moved = std::move(first);
    first.reset();  // empty: nothing happens
    {
        const Invalidation bracket(space_, discard_of(1, 1));
    }
    EXPECT_EQ(log_.size(), 2U);
    moved = space_.subscribe(ept_);
    log_.clear();
    {
        const Invalidation bracket(space_, discard_of(1, 1));
    }
    EXPECT_EQ(log_, (Log{"start ept", "end ept"}));
}

TEST_F(AddressSpaceTest, SubscribingWaitsForOpenInvalidations) {
    std::atomic<bool> ended{false};
    std::jthread subscriber;
    {
        const Invalidation bracket(space_, discard_of(1, 1));
        subscriber = std::jthread([&] {
            const Subscription late = space_.subscribe(device_);
            EXPECT_TRUE(ended.load()) << "a start/end pair straddles the subscription";
        });
        // Once the subscriber waits nothing more is opened, or it might wait for ever: a non-blockable event tells.
        while (Invalidation(space_, discard_of(1, 1, Blockable::no)).started()) std::this_thread::yield();
        ended.store(true);
    }
    subscriber.join();
    EXPECT_TRUE(log_.empty());
}

TEST_F(AddressSpaceTest, UnsubscribingWaitsForOpenInvalidations) {
    std::atomic<bool> ended{false};
    Subscription subscription = space_.subscribe(device_);
    std::jthread leaver;
    {
        const Invalidation bracket(space_, discard_of(1, 1));
        leaver = std::jthread([&] {
            subscription.reset();
            EXPECT_TRUE(ended.load());
        });
        while (Invalidation(space_, discard_of(1, 1, Blockable::no)).started()) std::this_thread::yield();
        ended.store(true);
    }
    leaver.join();
    EXPECT_EQ(log_.back(), "end device");
}

TEST_F(AddressSpaceTest, ReleaseComesOnce) {
    const Subscription one = space_.subscribe(ept_);
    const Subscription two = space_.subscribe(device_);
    space_.release();
    space_.release();
    EXPECT_EQ(log_, (Log{"release device", "release ept"}));
}

/// Its release takes as long as the test wants.
struct SlowRelease : Recorder {
    using Recorder::Recorder;
    void release() override {
        entered.store(true);
        while (!go_on.load()) std::this_thread::yield();
        for (unsigned i = 0; i < 1000; ++i) std::this_thread::yield();
        left.store(true);
    }
    std::atomic<bool> entered{false};
    std::atomic<bool> go_on{false};
    std::atomic<bool> left{false};
};

TEST_F(AddressSpaceTest, NoReleaseIsCalledAfterUnsubscribing) {
    Log log;
    SlowRelease slow("slow", SubscriberOrder::device, log);
    Subscription subscription = space_.subscribe(slow);
    std::jthread releaser([this] { space_.release(); });
    while (!slow.entered.load()) std::this_thread::yield();
    slow.go_on.store(true);
    subscription.reset();
    EXPECT_TRUE(slow.left.load()) << "unsubscribed while its release was running";
}

/// Counts what is open; many threads at once.
struct Counting : Subscriber {
    [[nodiscard]] std::string_view name() const override { return "counting"; }
    [[nodiscard]] SubscriberOrder order() const override { return SubscriberOrder::device; }
    [[nodiscard]] StartResult invalidate_start(const InvalidationEvent& event) override {
        if (event.blockable == Blockable::no && open.load() > 2) return StartResult::would_block;
        open.fetch_add(1);
        return StartResult::done;
    }
    void invalidate_end(const InvalidationEvent&) override { open.fetch_sub(1); }
    void release() override {}
    std::atomic<int> open{0};
};

TEST_F(AddressSpaceTest, ParallelInvalidationsAndSubscriptionsBalance) {
    Counting first;
    Counting second;
    const Subscription subscription = space_.subscribe(first);
    {
        std::vector<std::jthread> threads;
        for (std::uint64_t t = 0; t < 3; ++t) {
            threads.emplace_back([this, t] {
                for (std::uint64_t i = 0; i < 500; ++i) {
                    const auto blockable = i % 3 == 0 ? Blockable::no : Blockable::yes;
                    const Invalidation bracket(space_, discard_of(t * 10, 1 + i % 20, blockable));
                }
            });
        }
        threads.emplace_back([this, &second] {
            for (unsigned i = 0; i < 100; ++i) {
                const Subscription passing = space_.subscribe(second);
                EXPECT_EQ(second.open.load() >= 0, true);
            }
        });
    }
    EXPECT_EQ(first.open.load(), 0);
    EXPECT_EQ(second.open.load(), 0);
}

// Brackets that nest and interleave in any order, some refused: every subscriber has exactly the open ones in hand.
TEST_F(AddressSpaceTest, EverySubscriberSeesWhatIsOpen) {
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        std::mt19937_64 random(seed);
        log_.clear();
        AddressSpace space;
        const Subscription one = space.subscribe(ept_);
        const Subscription two = space.subscribe(device_);
        ScriptedSource source(space);
        std::vector<ScriptedSource::Ticket> open;
        for (unsigned step = 0; step < 100; ++step) {
            if (random() % 2 == 0) {
                const auto blockable = random() % 2 == 0 ? Blockable::no : Blockable::yes;
                ept_.answer =
                    blockable == Blockable::no && random() % 2 == 0 ? StartResult::would_block : StartResult::done;
                const auto ticket = source.begin(discard_of(random() % 100, 1 + random() % 10, blockable));
                ASSERT_EQ(ticket.has_value(), ept_.answer == StartResult::done);
                if (ticket) open.push_back(*ticket);
            } else if (!open.empty()) {
                std::swap(open[random() % open.size()], open.back());
                source.end(open.back());
                open.pop_back();
            }
            ASSERT_EQ(source.open(), open.size());
            const auto told = [&](const char* what) { return std::ranges::count(log_, std::string(what)); };
            ASSERT_EQ(told("start device") - told("end device"), static_cast<std::ptrdiff_t>(open.size()));
        }
    }
}

using AddressSpaceDeathTest = AddressSpaceTest;

TEST_F(AddressSpaceDeathTest, MisuseStopsTheProcess) {
    EXPECT_DEATH(
        {
            space_.release();
            const Invalidation late(space_, discard_of(1, 1));
        },
        "invalidation of a released address space");
    EXPECT_DEATH(
        {
            space_.release();
            const Subscription late = space_.subscribe(ept_);
        },
        "subscription to a released address space");
    EXPECT_DEATH(
        {
            Mutex table(LockRank::table);
            const MutexLock lock(table);
            const Invalidation bracket(space_, discard_of(1, 1));
        },
        "out of rank order");
}

#if defined(PENUMBRA_TEST_SWITCHES)
TEST_F(AddressSpaceDeathTest, LostEndStopsTheProcess) {
    const Subscription one = space_.subscribe(ept_);
    EXPECT_DEATH(
        {
            const Planted plant(Plant::drop_invalidate_end, 1);
            const Invalidation bracket(space_, discard_of(1, 1));
        },
        "started and never ended");
}
#endif

}  // namespace
}  // namespace penumbra::bridge
