#include "notifier-bridge/interval_subscription.hpp"

#include "base/assert.hpp"
#include "base/callback_scope.hpp"
#include "base/planted.hpp"
#include "base/schedule_point.hpp"

namespace penumbra::bridge {

template <class Fn>
void IntervalSubscription::for_each_region(const RangeSet& ranges, Fn&& fn) {
    if (planted(Plant::hold_off_everywhere)) {
        for (std::size_t r = 0; r < regions; ++r) fn(r);
        return;
    }
    std::uint64_t last = ~std::uint64_t{0};
    for (const HvpRange& range : ranges.ranges()) {
        for (std::uint64_t r = range.first().value() >> region_shift; r <= (range.end().value() - 1) >> region_shift;
             ++r) {
            if (r == last) continue;  // two ranges of one region count once
            last = r;
            fn(r % regions);
        }
        if (planted(Plant::hold_off_first_range)) return;
    }
}

void IntervalSubscription::hold_off(const RangeSet& ranges) {
    for_each_region(ranges, [this](std::size_t r) {
        schedule_point(Step::entry_write, &words_[r]);
        const std::uint64_t before = words_[r].fetch_add(1, std::memory_order_seq_cst);
        PENUMBRA_ASSERT((before & active_mask) != active_mask, "too many open invalidations");
    });
}

void IntervalSubscription::lift(const RangeSet& ranges) {
    for_each_region(ranges, [this](std::size_t r) {
        schedule_point(Step::entry_write, &words_[r]);
        const std::uint64_t before = words_[r].fetch_add(
            planted(Plant::end_uncounted) ? ~std::uint64_t{0} : one_ended - 1, std::memory_order_seq_cst);
        if (planted(Plant::end_lifts_all)) words_[r].fetch_and(~active_mask, std::memory_order_seq_cst);
        PENUMBRA_ASSERT((before & active_mask) != 0, "invalidation ended twice");
    });
    if (waiters_.load(std::memory_order_seq_cst) == 0 || planted(Plant::end_wakes_nobody)) return;
    const MutexLock lock(mutex_);
    ended_.notify_all();
}

std::optional<IntervalSubscription::Sequence> IntervalSubscription::read_begin(
    Hvp page, std::chrono::steady_clock::time_point deadline) {
    PENUMBRA_ASSERT(!in_bridge_callback(), "a callback waited for an invalidation to end");
    std::atomic<std::uint64_t>& word = words_[region_of(page)];
    const auto look = [&word] {
        schedule_point(Step::entry_read, &word);
        return word.load(std::memory_order_seq_cst);
    };
    std::uint64_t now = look();
    if ((now & active_mask) == 0 || planted(Plant::sample_while_open)) return Sequence{now};

    const MutexLock lock(mutex_);
    waiters_.fetch_add(1, std::memory_order_seq_cst);
    bool in_time = true;
    while (((now = look()) & active_mask) != 0 && in_time) {
        in_time = ended_.wait_until(mutex_, deadline);
    }
    waiters_.fetch_sub(1, std::memory_order_seq_cst);
    if ((now & active_mask) != 0) return std::nullopt;
    return Sequence{now};
}

bool IntervalSubscription::read_retry(Hvp page, Sequence sample) const {
    schedule_point(Step::entry_read, &words_[region_of(page)]);
    return words_[region_of(page)].load(std::memory_order_seq_cst) != static_cast<std::uint64_t>(sample);
}

std::uint64_t IntervalSubscription::active() const {
    std::uint64_t total = 0;
    for (const auto& word : words_) total += word.load(std::memory_order_seq_cst) & active_mask;
    return total;
}

}  // namespace penumbra::bridge
