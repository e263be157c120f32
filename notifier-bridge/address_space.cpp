#include "notifier-bridge/address_space.hpp"

#include <algorithm>
#include <utility>

#include "base/assert.hpp"
#include "base/callback_scope.hpp"
#include "base/planted.hpp"
#include "base/schedule_point.hpp"

namespace penumbra::bridge {

Subscription::Subscription(Subscription&& other) noexcept
    : space_(std::exchange(other.space_, nullptr)), subscriber_(std::exchange(other.subscriber_, nullptr)) {}

Subscription& Subscription::operator=(Subscription&& other) noexcept {
    if (this != &other) {
        reset();
        space_ = std::exchange(other.space_, nullptr);
        subscriber_ = std::exchange(other.subscriber_, nullptr);
    }
    return *this;
}

void Subscription::reset() {
    if (space_ != nullptr) std::exchange(space_, nullptr)->unsubscribe(*subscriber_);
}

AddressSpace::~AddressSpace() { PENUMBRA_ASSERT(order_.empty(), "address space destroyed with subscribers"); }

void AddressSpace::begin_change() {
    while (changing_) changed_.wait(mutex_);
    changing_ = true;
    while (open_ > 0 && !planted(Plant::straddle_change)) changed_.wait(mutex_);
}

void AddressSpace::end_change() {
    changing_ = false;
    changed_.notify_all();
}

Subscription AddressSpace::subscribe(Subscriber& subscriber) {
    PENUMBRA_ASSERT(!in_bridge_callback(), "a callback subscribed");
    const MutexLock lock(mutex_);
    begin_change();
    PENUMBRA_ASSERT(!released_, "subscription to a released address space");
    Subscriber* called = &subscriber;
    if constexpr (test_switches) {
        checkers_.push_back(std::make_unique<SubscriberContract>(subscriber));
        called = checkers_.back().get();
    }
    const auto place = std::upper_bound(order_.begin(), order_.end(), called->order(),
                                        [](SubscriberOrder o, const Subscriber* s) { return o < s->order(); });
    order_.insert(place, called);
    end_change();
    return Subscription{*this, subscriber};
}

void AddressSpace::unsubscribe(Subscriber& subscriber) {
    PENUMBRA_ASSERT(!in_bridge_callback(), "a callback unsubscribed");
    const MutexLock lock(mutex_);
    begin_change();
    Subscriber* called = &subscriber;
    const auto checker =
        std::find_if(checkers_.begin(), checkers_.end(), [&](const auto& c) { return &c->inner() == &subscriber; });
    if (checker != checkers_.end()) called = checker->get();
    std::erase(order_, called);
    if (checker != checkers_.end()) checkers_.erase(checker);
    end_change();
}

void AddressSpace::release() {
    std::vector<Subscriber*> subscribers;
    {
        const MutexLock lock(mutex_);
        begin_change();
        if (!std::exchange(released_, true)) subscribers = order_;
    }
    // Still changing: whoever unsubscribes waits until its release has returned.
    for (Subscriber* subscriber : subscribers) subscriber->release();
    const MutexLock lock(mutex_);
    end_change();
}

bool AddressSpace::open(Blockable blockable) {
    const MutexLock lock(mutex_);
    if (changing_ && blockable == Blockable::no) return false;
    while (changing_) changed_.wait(mutex_);
    PENUMBRA_ASSERT(!released_, "invalidation of a released address space");
    ++open_;
    return true;
}

void AddressSpace::close() {
    const MutexLock lock(mutex_);
    if (--open_ > 0) return;
    check_quiet();
    if (changing_) changed_.notify_all();
}

void AddressSpace::check_quiet() {
    for (const auto& checker : checkers_) {
        PENUMBRA_ASSERT(checker->open() == 0, "a subscriber was started and never ended");
    }
}

Invalidation::Invalidation(AddressSpace& space, InvalidationEvent event) : space_(space), event_(std::move(event)) {
    PENUMBRA_ASSERT(!in_bridge_callback(), "a callback started an invalidation");
    opened_ = space_.open(event_.blockable);
    if (!opened_) {
        space_.stats_.would_block.add();
        return;
    }
    for (std::size_t i = 0; i < space_.order_.size(); ++i) {
        schedule_point(Step::callback, &space_);
        const std::size_t place = planted(Plant::reverse_starts) ? space_.order_.size() - 1 - i : i;
        if (space_.order_[place]->invalidate_start(event_) == StartResult::done) continue;
        if (!planted(Plant::keep_aborted_starts)) end(i);
        space_.stats_.would_block.add();
        return;
    }
    started_ = true;
    space_.stats_.batches.add();
    space_.stats_.pages_by_reason[static_cast<std::size_t>(event_.reason)].add(event_.ranges.pages());
}

Invalidation::~Invalidation() {
    if (started_) end(space_.order_.size());
    if (opened_) space_.close();
}

void Invalidation::end(std::size_t subscribers) {
    for (std::size_t i = subscribers; i-- > 0;) {
        if (planted(Plant::drop_invalidate_end)) continue;
        schedule_point(Step::callback, &space_);
        space_.order_[i]->invalidate_end(event_);
    }
}

}  // namespace penumbra::bridge
