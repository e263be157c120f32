// Limbo: a ring of staging slots that pages pass through on their way out. The ring is also the queue: pages enter at
// the head in batches, so that a run of pages goes to a run of slots, and are packed from the tail, oldest first. A
// page that is touched meanwhile is rescued from its slot.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/mapped_region.hpp"
#include "base/mutex.hpp"
#include "base/schedule_point.hpp"
#include "vmm/memory/page_state.hpp"

namespace penumbra::vmm {

/// Consecutive slots, by their number in the ring.
struct SlotSpan {
    std::uint32_t first = 0;
    std::uint32_t count = 0;
};

class Limbo {
public:
    [[nodiscard]] static Result<std::unique_ptr<Limbo>> create(std::uint32_t slots);

    [[nodiscard]] HvpRange staging() const { return region_.pages(); }
    [[nodiscard]] Hvp page_of_slot(std::uint32_t slot) const { return staging().first() + slot; }
    [[nodiscard]] std::uint32_t slots() const { return slots_; }

    /// Up to `wanted` empty slots at the head; count 0 when the ring is full. They must be committed.
    [[nodiscard]] SlotSpan reserve(std::uint32_t wanted) EXCLUDES(mutex_);
    /// A page was taken out into a reserved slot; it stays there, rescued or not, until the slot is released.
    void occupy(std::uint32_t slot, PageIndex page) {
        schedule_point(Step::entry_write, &meta_[slot].occupant);
        meta_[slot].occupant.store(static_cast<std::uint32_t>(page), std::memory_order_release);
    }
    /// Takes occupy() back: the page was discarded while it was leaving.
    void vacate(std::uint32_t slot) { meta_[slot].occupant.store(no_page, std::memory_order_release); }
    /// The copy that a tier has of the page in the slot; set before the page's word names the slot.
    void set_copy(std::uint32_t slot, PageCopy copy);
    [[nodiscard]] PageCopy copy(std::uint32_t slot) const {
        return PageWord{meta_[slot].copy.load(std::memory_order_acquire)}.copy();
    }
    /// Hands the copy over, to one of those who ask.
    [[nodiscard]] PageCopy take_copy(std::uint32_t slot);
    /// Gives reserved slots back unused; false when younger ones were reserved since, and they have to be committed.
    [[nodiscard]] bool cancel(SlotSpan span) EXCLUDES(mutex_);
    /// The reserved slots may be packed from now on; those that nobody occupied are empty.
    void commit(SlotSpan span) EXCLUDES(mutex_);

    /// Claims the oldest committed slots for packing; count 0 when there are none.
    [[nodiscard]] SlotSpan claim_oldest(std::uint32_t wanted) EXCLUDES(mutex_);
    /// The page that was put into a slot; it may have been rescued since.
    [[nodiscard]] std::optional<PageIndex> occupant(std::uint32_t slot) const;
    /// Gives back claimed slots that the caller has emptied; returns how many of them still had an occupant.
    std::uint32_t release(SlotSpan span) EXCLUDES(mutex_);
    /// Claimed slots that could not be packed: claimable again.
    void unclaim(SlotSpan span) EXCLUDES(mutex_);

    /// Slots that hold a page, or may.
    [[nodiscard]] std::uint32_t used() const { return used_.load(std::memory_order_relaxed); }
    [[nodiscard]] std::uint32_t free_slots() const { return slots_ - used(); }

    /// While pinned, a slot is not emptied. Pin first, then look whether the page's word still names the slot.
    void pin(std::uint32_t slot) {
        schedule_point(Step::entry_write, &meta_[slot].pins);
        meta_[slot].pins.fetch_add(1, std::memory_order_seq_cst);
    }
    void unpin(std::uint32_t slot);
    /// Waits until nobody pins the slot. The caller has made sure that no new pin can find it.
    void wait_unpinned(std::uint32_t slot) const;

private:
    enum class SlotState : std::uint8_t { empty, reserved, full, claimed };
    struct Meta {
        std::atomic<std::uint32_t> occupant{no_page};
        std::atomic<std::uint32_t> pins{0};
        std::atomic<std::uint64_t> copy{0};  // a resident page's word with that copy; 0: none
    };
    static constexpr std::uint32_t no_page = ~std::uint32_t{0};

    Limbo(MappedRegion region, std::uint32_t slots);

    MappedRegion region_;
    const std::uint32_t slots_;
    std::unique_ptr<Meta[]> meta_;
    std::atomic<std::uint32_t> used_{0};
    Mutex mutex_{LockRank::limbo};
    std::vector<SlotState> state_ GUARDED_BY(mutex_);
    std::uint32_t head_ GUARDED_BY(mutex_) = 0;  // next slot to reserve
    std::uint32_t tail_ GUARDED_BY(mutex_) = 0;  // oldest slot in use, when any is
};

}  // namespace penumbra::vmm
