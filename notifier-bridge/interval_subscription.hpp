// The collision-retry protocol of the kernel's interval notifier (mm/mmu_notifier.c, mmu_interval_read_begin/_retry;
// KVM's mmu_invalidate_seq): a fault samples a sequence, resolves its page without any lock, and may install the result
// only if no invalidation of that page began meanwhile.
//
// One sequence per 2 MiB of window, so that a fault retries for a neighbour's invalidation and not for every one. Each
// is a single word, active invalidations in the low bits and ended ones above, so that a fault reads both at once:
//
//   fault                                     invalidation
//   s = read_begin(page)   (none active)      hold_off(ranges)       active += 1
//   resolve, no lock held                     zap entries, flush     sees the claimed entry, or ...
//   claim the entry (empty -> busy)           lift(ranges)           active -= 1, ended += 1
//   read_retry(page, s)                       ... the fault sees the changed word: all four are seq_cst
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>

#include "base/mutex.hpp"
#include "notifier-bridge/invalidation.hpp"

namespace penumbra::bridge {

class IntervalSubscription {
public:
    /// An opaque sample; comparable only with the same page's word.
    enum class Sequence : std::uint64_t {};

    /// Waits until no invalidation of the page's region is open, at most until `deadline`: nullopt means that one did
    /// not end in time. Call with no lock held and outside callbacks.
    [[nodiscard]] std::optional<Sequence> read_begin(Hvp page, std::chrono::steady_clock::time_point deadline)
        EXCLUDES(mutex_);
    /// True when an invalidation of the region began or ended since the sample: the result may not be installed.
    /// False is firm only after the caller claimed the entry, see above.
    [[nodiscard]] bool read_retry(Hvp page, Sequence sample) const;

    /// For the subscriber's own start and end.
    void hold_off(const RangeSet& ranges);
    void lift(const RangeSet& ranges) EXCLUDES(mutex_);
    /// Open invalidations over all regions, counted per region touched. Zero in quiescence.
    [[nodiscard]] std::uint64_t active() const;

private:
    static constexpr unsigned region_shift = 9;  // pages
    static constexpr std::size_t regions = 1024;
    static constexpr std::uint64_t active_mask = (1U << 20) - 1;
    static constexpr std::uint64_t one_ended = active_mask + 1;

    static std::size_t region_of(Hvp page) { return (page.value() >> region_shift) % regions; }
    template <class Fn>
    static void for_each_region(const RangeSet& ranges, Fn&& fn);

    std::array<std::atomic<std::uint64_t>, regions> words_{};
    std::atomic<std::uint32_t> waiters_{0};
    Mutex mutex_{LockRank::leaf};
    CondVar ended_;
};

}  // namespace penumbra::bridge
