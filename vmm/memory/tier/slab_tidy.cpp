// The part of SlabHeap that gives memory back: pages between slots, and slabs that others have room for.
#include <bit>

#include "vmm/memory/tier/slab_heap.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::uint64_t idle_pages_allowed = 64;  // below this, and
constexpr std::uint64_t idle_share_allowed = 16;  // below a sixteenth of the pool, lone idle pages are let be
constexpr unsigned slabs_per_trim = 64;
constexpr unsigned discards_per_trim = 16;  // bounds how long one release may take

}  // namespace

std::optional<SlotRef> SlabHeap::take_beside(std::uint32_t beside, std::uint64_t limit_bytes) {
    Slab& slab = table_[beside];
    // Out of its list meanwhile, so that the fullest of the others comes first.
    auto& lists = partial_[slab.slab_class];
    const std::uint8_t bucket = slab.bucket;
    if (bucket != no_bucket) lists[bucket].remove(table_, beside);
    const std::uint32_t index = fullest_partial(slab.slab_class);
    const std::optional<SlotRef> ref = index == no_slab ? std::nullopt : take_in(index, limit_bytes);
    if (bucket != no_bucket) lists[bucket].push_back(table_, beside);
    return ref;
}

std::optional<SlotRef> SlabHeap::take_below(SlotRef above, std::uint64_t limit_bytes) {
    const Slab& slab = table_[above.slab];
    if (slab.used == slab.shape().slots || slab.lowest_free() > above.slot) return std::nullopt;
    return take_in(above.slab, limit_bytes);
}

std::optional<std::uint32_t> SlabHeap::next_sparse() {
    for (std::size_t seen = 0; seen < slab_class_count; ++seen) {
        const std::uint8_t slab_class = sparse_class_;
        sparse_class_ = static_cast<std::uint8_t>((sparse_class_ + 1U) % slab_class_count);
        for (const auto& list : partial_[slab_class]) {
            const std::uint32_t index = list.front();
            if (index == no_slab) continue;
            const Slab& slab = table_[index];
            if (free_slots_[slab_class] >= slab.shape().slots) return index;  // its own holes, and as many as it fills
            const auto charged = static_cast<std::size_t>(std::popcount(slab.touched)) * page_bytes;
            if (charged >= std::size_t{slab.used} * slab.shape().slot_bytes + 2 * page_bytes) return index;
            break;
        }
    }
    return std::nullopt;
}

void SlabHeap::trim_if_worthwhile() {
    if (idle_pages_ <= idle_pages_allowed || idle_pages_ * idle_share_allowed <= resident_pages_) return;
    trim(slabs_per_trim, discards_per_trim);
}

void SlabHeap::trim(unsigned slabs, unsigned discards) {
    unsigned done = 0;
    for (unsigned seen = 0; seen < slabs && done < discards; ++seen) {
        if (trim_cursor_ >= table_.opened()) trim_cursor_ = 0;
        done += trim_slab(trim_cursor_++);
    }
}

unsigned SlabHeap::trim_slab(std::uint32_t index) {
    Slab& slab = table_[index];
    unsigned discards = 0;
    for (unsigned page = 0; page < slab_pages; ++page) {
        unsigned end = page;
        while (end < slab_pages && (slab.touched & page_bit(end)) != 0 && page_is_idle(slab, end)) ++end;
        if (end == page) continue;
        memory_.discard(index * slab_bytes + (page << page_shift), std::size_t{end - page} << page_shift);
        resident_pages_ -= end - page;
        idle_pages_ -= end - page;
        for (; page < end; ++page) slab.touched = static_cast<std::uint16_t>(slab.touched & ~page_bit(page));
        ++discards;
    }
    return discards;
}

}  // namespace penumbra::vmm
