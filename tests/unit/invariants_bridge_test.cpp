// The bridge's share of docs/invariants.md that no other test holds.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "notifier-bridge/address_space.hpp"

namespace penumbra::bridge::invariants {
namespace {

struct Indifferent final : Subscriber {
    [[nodiscard]] std::string_view name() const override { return "indifferent"; }
    [[nodiscard]] SubscriberOrder order() const override { return SubscriberOrder::device; }
    [[nodiscard]] StartResult invalidate_start(const InvalidationEvent&) override { return StartResult::done; }
    void invalidate_end(const InvalidationEvent&) override {}
    void release() override {}
};

InvalidationEvent discard(Blockable blockable) {
    InvalidationEvent event;
    event.reason = Reason::discard;
    event.blockable = blockable;
    event.ranges.add(HvpRange{Hvp{1}, 1});
    return event;
}

TEST(InvariantsBridge, WhoSubscribesWaitsForWhatIsOpen) {
    Indifferent late;
    AddressSpace space;
    std::atomic<bool> subscribed{false};
    std::jthread subscriber;
    {
        const Invalidation open(space, discard(Blockable::yes));
        subscriber = std::jthread([&] {
            const Subscription subscription = space.subscribe(late);
            subscribed = true;
        });
        // Once somebody waits to subscribe, an event that may not block is refused.
        while (!subscribed && Invalidation(space, discard(Blockable::no)).started()) std::this_thread::yield();
        EXPECT_FALSE(subscribed) << "a start and its end would straddle the subscription";
    }
    subscriber.join();
    EXPECT_TRUE(subscribed);
}

}  // namespace
}  // namespace penumbra::bridge::invariants
