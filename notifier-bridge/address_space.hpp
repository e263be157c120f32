// One VM's memory as the bridge sees it: who subscribes, and which invalidations are open. It plays mm_struct's role.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "base/counters.hpp"
#include "base/mutex.hpp"
#include "notifier-bridge/subscriber.hpp"
#include "notifier-bridge/subscriber_contract.hpp"

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

    /// Waits until no invalidation is open, so that no start/end pair straddles the subscription. `subscriber` must
    /// outlive it.
    [[nodiscard]] Subscription subscribe(Subscriber& subscriber) EXCLUDES(mutex_);
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

    /// Subscribers in start order. Immutable while `open_` > 0, so callbacks run without the lock.
    [[nodiscard]] bool open(Blockable blockable) EXCLUDES(mutex_);
    void close() EXCLUDES(mutex_);
    void unsubscribe(Subscriber& subscriber) EXCLUDES(mutex_);
    void begin_change() REQUIRES(mutex_);
    void end_change() REQUIRES(mutex_);
    void check_quiet() REQUIRES(mutex_);

    Mutex mutex_{LockRank::bridge};
    CondVar changed_;
    std::uint64_t open_ GUARDED_BY(mutex_) = 0;
    bool changing_ GUARDED_BY(mutex_) = false;
    bool released_ GUARDED_BY(mutex_) = false;
    std::vector<Subscriber*> order_;  // written under mutex_ with open_ == 0, read by open invalidations
    std::vector<std::unique_ptr<SubscriberContract>> checkers_ GUARDED_BY(mutex_);
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
    void end(std::size_t subscribers);

    AddressSpace& space_;
    InvalidationEvent event_;
    bool opened_ = false;
    bool started_ = false;
};

}  // namespace penumbra::bridge
