#include "vmm/memory/limbo.hpp"

#include <utility>

#include "base/wait.hpp"

namespace penumbra::vmm {

Result<std::unique_ptr<Limbo>> Limbo::create(std::uint32_t slots) {
    PENUMBRA_TRY_ASSIGN(MappedRegion region, MappedRegion::anonymous(std::uint64_t{slots} * page_bytes, 2ULL << 20));
    PENUMBRA_TRY(region.keep_private());
    return std::unique_ptr<Limbo>(new Limbo(std::move(region), slots));
}

Limbo::Limbo(MappedRegion region, std::uint32_t slots)
    : region_(std::move(region)),
      slots_(slots),
      meta_(std::make_unique<Meta[]>(slots)),
      state_(slots, SlotState::empty) {}

SlotSpan Limbo::reserve(std::uint32_t wanted) {
    const MutexLock lock(mutex_);
    SlotSpan span{head_, 0};
    // A span does not wrap, so that its slots are consecutive in memory.
    while (span.count < wanted && span.first + span.count < slots_ &&
           state_[span.first + span.count] == SlotState::empty) {
        state_[span.first + span.count++] = SlotState::reserved;
    }
    head_ = (span.first + span.count) % slots_;
    used_.fetch_add(span.count, std::memory_order_relaxed);
    return span;
}

bool Limbo::cancel(SlotSpan span) {
    const MutexLock lock(mutex_);
    if (head_ != (span.first + span.count) % slots_) return false;
    for (std::uint32_t i = 0; i < span.count; ++i) state_[span.first + i] = SlotState::empty;
    head_ = span.first;
    used_.fetch_sub(span.count, std::memory_order_relaxed);
    return true;
}

void Limbo::commit(SlotSpan span) {
    const MutexLock lock(mutex_);
    for (std::uint32_t i = 0; i < span.count; ++i) {
        PENUMBRA_ASSERT(state_[span.first + i] == SlotState::reserved, "commit of a slot that was not reserved");
        state_[span.first + i] = SlotState::full;
    }
}

SlotSpan Limbo::claim_oldest(std::uint32_t wanted) {
    const MutexLock lock(mutex_);
    if (used() == 0) return {};
    std::uint32_t at = tail_;
    for (std::uint32_t passed = 0; state_[at] != SlotState::full; ++passed) {
        if (passed == slots_) return {};
        at = (at + 1) % slots_;
    }
    SlotSpan span{at, 0};
    while (span.count < wanted && at + span.count < slots_ && state_[at + span.count] == SlotState::full) {
        state_[at + span.count++] = SlotState::claimed;
    }
    return span;
}

std::optional<PageIndex> Limbo::occupant(std::uint32_t slot) const {
    schedule_point(Step::entry_read, &meta_[slot].occupant);
    const std::uint32_t page = meta_[slot].occupant.load(std::memory_order_acquire);
    if (page == no_page) return std::nullopt;
    return PageIndex{page};
}

std::uint32_t Limbo::release(SlotSpan span) {
    const MutexLock lock(mutex_);
    std::uint32_t occupied = 0;
    for (std::uint32_t i = 0; i < span.count; ++i) {
        PENUMBRA_ASSERT(state_[span.first + i] == SlotState::claimed, "release of a slot that was not claimed");
        state_[span.first + i] = SlotState::empty;
        if (meta_[span.first + i].occupant.exchange(no_page, std::memory_order_acq_rel) != no_page) ++occupied;
    }
    // Segments may finish out of order; the tail moves over whatever is empty.
    const std::uint32_t left = used_.fetch_sub(span.count, std::memory_order_relaxed) - span.count;
    if (left == 0) tail_ = head_;
    while (left > 0 && state_[tail_] == SlotState::empty) tail_ = (tail_ + 1) % slots_;
    return occupied;
}

void Limbo::unclaim(SlotSpan span) {
    const MutexLock lock(mutex_);
    for (std::uint32_t i = 0; i < span.count; ++i) {
        PENUMBRA_ASSERT(state_[span.first + i] == SlotState::claimed, "unclaim of a slot that was not claimed");
        state_[span.first + i] = SlotState::full;
    }
}

void Limbo::set_copy(std::uint32_t slot, PageCopy copy) {
    schedule_point(Step::entry_write, &meta_[slot].copy);
    meta_[slot].copy.store(copy.exists() ? PageWord{}.with_copy(copy).raw() : 0, std::memory_order_release);
}

PageCopy Limbo::take_copy(std::uint32_t slot) {
    schedule_point(Step::entry_write, &meta_[slot].copy);
    if (meta_[slot].copy.load(std::memory_order_acquire) == 0) return {};
    return PageWord{meta_[slot].copy.exchange(0, std::memory_order_acq_rel)}.copy();
}

void Limbo::unpin(std::uint32_t slot) {
    schedule_point(Step::entry_write, &meta_[slot].pins);
    const std::uint32_t before = meta_[slot].pins.fetch_sub(1, std::memory_order_seq_cst);
    PENUMBRA_ASSERT(before > 0, "slot unpinned twice");
    if (before == 1) wake_all(meta_[slot].pins);
}

void Limbo::wait_unpinned(std::uint32_t slot) const {
    for (;;) {
        schedule_point(Step::entry_read, &meta_[slot].pins);
        const std::uint32_t pins = meta_[slot].pins.load(std::memory_order_seq_cst);
        if (pins == 0) return;
        wait_while(meta_[slot].pins, pins);
    }
}

}  // namespace penumbra::vmm
