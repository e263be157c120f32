// One VM's memory as the bridge sees it: who subscribes, and which invalidations are open. It plays mm_struct's role.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/counters.hpp"
#include "base/mutex.hpp"
#include "notifier-bridge/subscriber.hpp"
#include "notifier-bridge/subscriber_contract.hpp"
#include "notifier-bridge/subscriber_index.hpp"

namespace penumbra::bridge {

class AddressSpace;

/// Keeps a subscriber subscribed. Destroy it outside callbacks; no callback runs after the destructor returns.
class Subscription {
public:
    Subscription() = default;
    Subscription(Subscription&& other) noexcept;
    Subscription& operator=(Subscription&& other) noexcept;
    Subscription(const Subscription&) = delete;
    Subscription& operator=(const Subscription&) = delete;
    ~Subscription() { reset(); }
    void reset();

private:
    friend class AddressSpace;
    Subscription(AddressSpace& space, Subscriber& subscriber) : space_(&space), subscriber_(&subscriber) {}
    AddressSpace* space_ = nullptr;
    Subscriber* subscriber_ = nullptr;
};

class AddressSpace {
public:
    AddressSpace() = default;
    AddressSpace(const AddressSpace&) = delete;
    AddressSpace& operator=(const AddressSpace&) = delete;
    ~AddressSpace();

    /// To every event. Waits until no invalidation is open, so that no start/end pair straddles the subscription.
    /// `subscriber` must outlive it, and be subscribed once at a time.
    [[nodiscard]] Subscription subscribe(Subscriber& subscriber) EXCLUDES(mutex_);
    /// To events that share a page with `pages`, which are told whole. Costs other events next to nothing: there may be
    /// a hundred thousand of them.
    [[nodiscard]] Subscription subscribe(Subscriber& subscriber, HvpRange pages) EXCLUDES(mutex_);
    /// Freezes every subscriber. Idempotent. No invalidation may be begun afterwards.
    void release() EXCLUDES(mutex_);

    struct Stats {
        std::array<Counter, reason_count> pages_by_reason;
        Counter batches;
        Counter would_block;
    };
    [[nodiscard]] const Stats& stats() const { return stats_; }

private:
    friend class Invalidation;
    friend class Subscription;

    struct Member {
        Subscriber* called = nullptr;                 // the subscriber, or in test builds what checks it
        std::unique_ptr<SubscriberContract> checker;  // test builds
        std::optional<HvpRange> pages;                // not set: told of everything
        std::uint64_t number = 0;                     // of its subscription
    };

    [[nodiscard]] bool open(Blockable blockable) EXCLUDES(mutex_);
    void close() EXCLUDES(mutex_);
    [[nodiscard]] Subscription add(Subscriber& subscriber, std::optional<HvpRange> pages) EXCLUDES(mutex_);
    void unsubscribe(Subscriber& subscriber) EXCLUDES(mutex_);
    /// Whom to tell of an event over these ranges, in start order: `order_` where nobody else is concerned, `room`
    /// otherwise. While an invalidation is open.
    [[nodiscard]] std::span<Subscriber* const> concerned(std::span<const HvpRange> ranges,
                                                         std::vector<Subscriber*>& room) const;
    /// In start order.
    [[nodiscard]] std::vector<Subscriber*> everybody() REQUIRES(mutex_);
    void begin_change() REQUIRES(mutex_);
    void end_change() REQUIRES(mutex_);
    void check_quiet() REQUIRES(mutex_);

    Mutex mutex_{LockRank::bridge};
    CondVar changed_;
    std::uint64_t open_ GUARDED_BY(mutex_) = 0;
    bool changing_ GUARDED_BY(mutex_) = false;
    bool released_ GUARDED_BY(mutex_) = false;
    // These two are written under mutex_ with open_ == 0, and read without it by open invalidations.
    std::vector<Subscriber*> order_;  // of those who are told of everything
    SubscriberIndex ranged_;
    std::unordered_map<const Subscriber*, Member> members_ GUARDED_BY(mutex_);
    std::uint64_t subscriptions_ GUARDED_BY(mutex_) = 0;
    Stats stats_;
};

/// A bracket around one change: start is delivered by the constructor, end by the destructor. Between the two nobody
/// can establish an entry for the event's pages. When `started()` is false a non-blockable event met somebody who would
/// have had to wait: everything is as before and the caller takes other pages or waits.
class Invalidation {
public:
    Invalidation(AddressSpace& space, InvalidationEvent event);
    ~Invalidation();
    Invalidation(const Invalidation&) = delete;
    Invalidation& operator=(const Invalidation&) = delete;

    [[nodiscard]] bool started() const { return started_; }
    [[nodiscard]] const InvalidationEvent& event() const { return event_; }

private:
    /// The first `told` of those concerned.
    void end(std::size_t told);

    AddressSpace& space_;
    InvalidationEvent event_;
    std::vector<Subscriber*> room_;
    std::span<Subscriber* const> concerned_;
    bool opened_ = false;
    bool started_ = false;
};

}  // namespace penumbra::bridge
