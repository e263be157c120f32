#include "notifier-bridge/address_space.hpp"

#include <algorithm>
#include <utility>

#include "base/assert.hpp"
#include "base/callback_scope.hpp"
#include "base/planted.hpp"
#include "base/schedule_point.hpp"

namespace penumbra::bridge {

namespace {

/// Orders as std::upper_bound asks for it: behind all of the same order.
bool starts_before(SubscriberOrder order, const Subscriber* subscriber) { return order < subscriber->order(); }

}  // namespace

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

AddressSpace::~AddressSpace() { PENUMBRA_ASSERT(members_.empty(), "address space destroyed with subscribers"); }

void AddressSpace::begin_change() {
    while (changing_) changed_.wait(mutex_);
    changing_ = true;
    while (open_ > 0 && !planted(Plant::straddle_change)) changed_.wait(mutex_);
}

void AddressSpace::end_change() {
    changing_ = false;
    changed_.notify_all();
}

Subscription AddressSpace::subscribe(Subscriber& subscriber) { return add(subscriber, std::nullopt); }
Subscription AddressSpace::subscribe(Subscriber& subscriber, HvpRange pages) { return add(subscriber, pages); }

Subscription AddressSpace::add(Subscriber& subscriber, std::optional<HvpRange> pages) {
    PENUMBRA_ASSERT(!in_bridge_callback(), "a callback subscribed");
    const MutexLock lock(mutex_);
    begin_change();
    PENUMBRA_ASSERT(!released_, "subscription to a released address space");
    const auto [place, is_new] = members_.try_emplace(&subscriber);
    PENUMBRA_ASSERT(is_new, "a subscriber subscribed twice");
    Member& member = place->second;
    member.called = &subscriber;
    member.number = ++subscriptions_;
    if constexpr (test_switches) {
        member.checker = std::make_unique<SubscriberContract>(subscriber);
        member.called = member.checker.get();
    }
    member.pages = pages;
    if (pages) {
        ranged_.add({*pages, member.called, member.number});
    } else {
        order_.insert(std::upper_bound(order_.begin(), order_.end(), member.called->order(), starts_before),
                      member.called);
    }
    end_change();
    return Subscription{*this, subscriber};
}

void AddressSpace::unsubscribe(Subscriber& subscriber) {
    PENUMBRA_ASSERT(!in_bridge_callback(), "a callback unsubscribed");
    const MutexLock lock(mutex_);
    begin_change();
    const auto place = members_.find(&subscriber);
    PENUMBRA_ASSERT(place != members_.end(), "unsubscribed without a subscription");
    const Member& member = place->second;
    if (member.pages) {
        ranged_.remove({*member.pages, member.called, member.number});
    } else {
        std::erase(order_, member.called);
    }
    members_.erase(place);
    end_change();
}

void AddressSpace::release() {
    std::vector<Subscriber*> subscribers;
    {
        const MutexLock lock(mutex_);
        begin_change();
        if (!std::exchange(released_, true)) subscribers = everybody();
    }
    // Still changing: whoever unsubscribes waits until its release has returned.
    for (Subscriber* subscriber : subscribers) subscriber->release();
    const MutexLock lock(mutex_);
    end_change();
}

std::vector<Subscriber*> AddressSpace::everybody() {
    std::vector<Member*> members;
    for (auto& [subscriber, member] : members_) members.push_back(&member);
    std::ranges::sort(members, {}, [](const Member* m) { return std::pair(m->called->order(), m->number); });
    std::vector<Subscriber*> all;
    for (const Member* member : members) all.push_back(member->called);
    return all;
}

std::span<Subscriber* const> AddressSpace::concerned(std::span<const HvpRange> ranges,
                                                     std::vector<Subscriber*>& room) const {
    const std::vector<SubscriberIndex::Entry> found = ranged_.find(ranges);
    if (found.empty()) return order_;
    room = order_;
    for (const SubscriberIndex::Entry& entry : found) {
        room.insert(std::upper_bound(room.begin(), room.end(), entry.subscriber->order(), starts_before),
                    entry.subscriber);
    }
    return room;
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
    if constexpr (!test_switches) return;
    for (const auto& [subscriber, member] : members_) {
        PENUMBRA_ASSERT(member.checker->open() == 0, "a subscriber was started and never ended");
    }
}

Invalidation::Invalidation(AddressSpace& space, InvalidationEvent event) : space_(space), event_(std::move(event)) {
    PENUMBRA_ASSERT(!in_bridge_callback(), "a callback started an invalidation");
    opened_ = space_.open(event_.blockable);
    if (!opened_) {
        space_.stats_.would_block.add();
        return;
    }
    concerned_ = space_.concerned(event_.ranges.ranges(), room_);
    for (std::size_t i = 0; i < concerned_.size(); ++i) {
        schedule_point(Step::callback, &space_);
        const std::size_t place = planted(Plant::reverse_starts) ? concerned_.size() - 1 - i : i;
        if (concerned_[place]->invalidate_start(event_) == StartResult::done) continue;
        if (!planted(Plant::keep_aborted_starts)) end(i);
        space_.stats_.would_block.add();
        return;
    }
    started_ = true;
    space_.stats_.batches.add();
    space_.stats_.pages_by_reason[static_cast<std::size_t>(event_.reason)].add(event_.ranges.pages());
}

Invalidation::~Invalidation() {
    if (started_) end(concerned_.size());
    if (opened_) space_.close();
}

void Invalidation::end(std::size_t told) {
    for (std::size_t i = told; i-- > 0;) {
        if (planted(Plant::drop_invalidate_end)) continue;
        schedule_point(Step::callback, &space_);
        concerned_[i]->invalidate_end(event_);
    }
}

}  // namespace penumbra::bridge
