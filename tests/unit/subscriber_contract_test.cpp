// A subscriber that breaks its contract is stopped at the first call.
#include "notifier-bridge/subscriber_contract.hpp"

#include <gtest/gtest.h>

#include <functional>

#include "base/mutex.hpp"
#include "notifier-bridge/address_space.hpp"
#include "shadow-mmu/flush/flush_batch.hpp"

namespace penumbra::bridge {
namespace {

/// Does in start what the test tells it to.
struct Scripted : Subscriber {
    [[nodiscard]] std::string_view name() const override { return "scripted"; }
    [[nodiscard]] SubscriberOrder order() const override { return SubscriberOrder::device; }
    [[nodiscard]] StartResult invalidate_start(const InvalidationEvent&) override {
        if (in_start) in_start();
        return answer;
    }
    void invalidate_end(const InvalidationEvent&) override {}
    void release() override {}

    std::function<void()> in_start;
    StartResult answer = StartResult::done;
};

struct Target {
    using Run = int;
    static constexpr std::size_t capacity = 2;
    static void flush(std::span<const int>) {}
};

void take_and_keep(Mutex& mutex) NO_THREAD_SAFETY_ANALYSIS { mutex.lock(); }

class SubscriberContractDeathTest : public testing::Test {
protected:
    StartResult start(Blockable blockable = Blockable::yes) {
        event_.blockable = blockable;
        return contract_.invalidate_start(event_);
    }
    InvalidationEvent event_;
    Scripted inner_;
    SubscriberContract contract_{inner_};
    AddressSpace space_;
    Mutex table_{LockRank::table};
};

TEST_F(SubscriberContractDeathTest, PassesGoodCallsOn) {
    EXPECT_EQ(contract_.name(), "scripted");
    EXPECT_EQ(contract_.order(), SubscriberOrder::device);
    EXPECT_EQ(&contract_.inner(), &inner_);
    EXPECT_EQ(start(), StartResult::done);
    EXPECT_EQ(start(), StartResult::done);
    EXPECT_EQ(contract_.open(), 2);
    contract_.invalidate_end(event_);
    contract_.invalidate_end(event_);
    EXPECT_EQ(contract_.open(), 0);
    inner_.answer = StartResult::would_block;
    EXPECT_EQ(start(Blockable::no), StartResult::would_block);
    EXPECT_EQ(contract_.open(), 0) << "no end follows a refusal";
    contract_.release();
}

TEST_F(SubscriberContractDeathTest, EndWithoutStart) {
    EXPECT_DEATH(contract_.invalidate_end(event_), "end without a start");
}

TEST_F(SubscriberContractDeathTest, CalledUnderALock) {
    EXPECT_DEATH(
        {
            const MutexLock lock(table_);
            (void)start();
        },
        "subscriber called under a bridge or table lock");
}

TEST_F(SubscriberContractDeathTest, LockKept) {
    inner_.in_start = [this] { take_and_keep(table_); };
    EXPECT_DEATH((void)start(), "start returned holding a lock");
}

TEST_F(SubscriberContractDeathTest, ReentrantInvalidation) {
    inner_.in_start = [this] { const Invalidation nested(space_, event_); };
    EXPECT_DEATH((void)start(), "a callback started an invalidation");
}

TEST_F(SubscriberContractDeathTest, SubscribesInACallback) {
    inner_.in_start = [this] { const Subscription nested = space_.subscribe(inner_); };
    EXPECT_DEATH((void)start(), "a callback subscribed");
}

TEST_F(SubscriberContractDeathTest, FlushLeftUncommitted) {
    Target target;
    inner_.in_start = [&target] { (new mmu::FlushBatch<Target>(target))->add(1); };  // in the child that dies
    EXPECT_DEATH((void)start(), "start returned before its flush was committed");
}

TEST_F(SubscriberContractDeathTest, BlockableStartRefused) {
    inner_.answer = StartResult::would_block;
    EXPECT_DEATH((void)start(Blockable::yes), "a blockable start would_block");
}

TEST_F(SubscriberContractDeathTest, EventAfterRelease) {
    contract_.release();
    EXPECT_DEATH((void)start(), "event after release");
    EXPECT_DEATH(contract_.release(), "released twice");
}

}  // namespace
}  // namespace penumbra::bridge
