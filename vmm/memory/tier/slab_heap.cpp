#include "vmm/memory/tier/slab_heap.hpp"

#include <algorithm>
#include <bit>

namespace penumbra::vmm {

namespace {

constexpr unsigned discards_at_limit = 256;

}  // namespace

SlabHeap::PageSpan SlabHeap::pages_of(const SlabClass& shape, unsigned slot) {
    const unsigned start = slot * shape.slot_bytes;
    return {start >> page_shift, (start + shape.slot_bytes - 1) >> page_shift};
}

unsigned SlabHeap::untouched(const Slab& slab, PageSpan span) {
    unsigned count = 0;
    for (unsigned page = span.first; page <= span.last; ++page) count += (slab.touched & page_bit(page)) == 0 ? 1U : 0U;
    return count;
}

bool SlabHeap::page_is_idle(const Slab& slab, unsigned page) {
    const SlabClass& shape = slab.shape();
    const unsigned start = page << page_shift;
    const unsigned first = start / shape.slot_bytes;
    const unsigned last = (start + static_cast<unsigned>(page_bytes) - 1) / shape.slot_bytes;
    return first >= shape.slots || !slab.any_taken(first, std::min<unsigned>(last, shape.slots - 1U));
}

std::uint32_t SlabHeap::fullest_partial(std::uint8_t slab_class) const {
    const auto& lists = partial_[slab_class];
    for (unsigned bucket = buckets; bucket-- > 0;) {
        if (lists[bucket].front() != no_slab) return lists[bucket].front();
    }
    return no_slab;
}

std::uint32_t SlabHeap::open_slab(std::uint8_t slab_class) {
    std::uint32_t index = free_.front();
    if (index != no_slab) {
        free_.remove(table_, index);
    } else {
        if (table_.opened() == table_.capacity()) return no_slab;
        index = table_.open_next();
    }
    Slab& slab = table_[index];
    slab.slab_class.store(slab_class, std::memory_order_relaxed);
    slab.bucket = 0;
    free_slots_[slab_class] += slab.shape().slots;
    partial_[slab_class][0].push_back(table_, index);
    by_age_.push_back(table_, index);
    return index;
}

void SlabHeap::close_slab(std::uint32_t index) {
    Slab& slab = table_[index];
    if (slab.touched != 0) {
        memory_.discard(index * slab_bytes, slab_bytes);
        const auto pages = static_cast<unsigned>(std::popcount(slab.touched));
        resident_pages_ -= pages;
        idle_pages_ -= pages;
        slab.touched = 0;
    }
    if (slab.bucket != no_bucket) partial_[slab.slab_class][slab.bucket].remove(table_, index);
    slab.bucket = no_bucket;
    free_slots_[slab.slab_class] -= slab.shape().slots;
    by_age_.remove(table_, index);
    free_.push_back(table_, index);
}

void SlabHeap::place_by_fullness(std::uint32_t index) {
    Slab& slab = table_[index];
    const auto bucket = static_cast<std::uint8_t>(slab.used * buckets / slab.shape().slots);
    if (bucket == slab.bucket) return;
    auto& lists = partial_[slab.slab_class];
    if (slab.bucket != no_bucket) lists[slab.bucket].remove(table_, index);
    slab.bucket = bucket;
    if (bucket != no_bucket) lists[bucket].push_back(table_, index);
}

std::optional<SlotRef> SlabHeap::take(std::size_t bytes, std::uint64_t limit_bytes) {
    PENUMBRA_ASSERT(bytes <= largest_slot_bytes, "blob larger than any slot");
    const std::uint8_t slab_class = slab_class_for(bytes);
    std::uint32_t index = fullest_partial(slab_class);
    const bool opened = index == no_slab;
    if (opened) index = open_slab(slab_class);
    if (index == no_slab) return std::nullopt;
    const std::optional<SlotRef> ref = take_in(index, limit_bytes);
    if (!ref && opened) close_slab(index);
    return ref;
}

std::optional<SlotRef> SlabHeap::take_in(std::uint32_t index, std::uint64_t limit_bytes) {
    Slab& slab = table_[index];
    const unsigned slot = slab.lowest_free();
    const PageSpan span = pages_of(slab.shape(), slot);
    unsigned fresh = untouched(slab, span);
    if (fresh > 0 && (resident_pages_ + fresh) * page_bytes > limit_bytes) {
        if (idle_pages_ > 0) trim(table_.opened(), discards_at_limit);
        // Trimming may have taken idle pages from under this very slot: count again.
        fresh = untouched(slab, span);
        if ((resident_pages_ + fresh) * page_bytes > limit_bytes) return std::nullopt;
    }
    for (unsigned page = span.first; page <= span.last; ++page) {
        if ((slab.touched & page_bit(page)) != 0 && page_is_idle(slab, page)) --idle_pages_;
        slab.touched = static_cast<std::uint16_t>(slab.touched | page_bit(page));
    }
    resident_pages_ += fresh;
    slab.set_taken(slot, true);
    ++slab.used;
    ++slots_taken_;
    taken_bytes_ += slab.shape().slot_bytes;
    --free_slots_[slab.slab_class];
    place_by_fullness(index);
    return SlotRef{index, slot};
}

void SlabHeap::release(SlotRef ref) {
    PENUMBRA_ASSERT(ref.slab < table_.opened(), "release of a blob that was never stored");
    Slab& slab = table_[ref.slab];
    PENUMBRA_ASSERT(slab.is_taken(ref.slot), "release of a blob that is not stored");
    slab.set_taken(ref.slot, false);
    --slab.used;
    --slots_taken_;
    taken_bytes_ -= slab.shape().slot_bytes;
    ++free_slots_[slab.slab_class];
    const PageSpan span = pages_of(slab.shape(), ref.slot);
    for (unsigned page = span.first; page <= span.last; ++page) idle_pages_ += page_is_idle(slab, page) ? 1U : 0U;
    if (slab.used == 0) {
        close_slab(ref.slab);
    } else {
        place_by_fullness(ref.slab);
        trim_if_worthwhile();
    }
}

void SlabHeap::rejuvenate(std::uint32_t slab) {
    by_age_.remove(table_, slab);
    by_age_.push_back(table_, slab);
}

}  // namespace penumbra::vmm
