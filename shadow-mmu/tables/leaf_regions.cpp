#include "shadow-mmu/tables/leaf_regions.hpp"

#include <algorithm>
#include <utility>

namespace penumbra::mmu {

LeafRegions::LeafRegions(const Memslots& memslots) {
    for (const Memslot& slot : memslots.slots()) {
        Slot made{slot.guest, {}};
        for (std::size_t s = 0; s < sizes.size() && !slot.guest.empty(); ++s) {
            const std::uint64_t span = pages_spanned(sizes[s]);
            const std::uint64_t count = (slot.guest.end().value() - 1) / span + 1 - slot.guest.first().value() / span;
            made.regions[s] = std::make_unique<Region[]>(count);
        }
        slots_.push_back(std::move(made));
    }
}

LeafRegions::Region* LeafRegions::find(Gfn gfn, Level level) const {
    for (const Slot& slot : slots_) {
        if (!slot.guest.contains(gfn)) continue;
        const std::uint64_t span = pages_spanned(level);
        return &slot.regions[level == Level::page_2m ? 0 : 1][gfn.value() / span - slot.guest.first().value() / span];
    }
    return nullptr;
}

// A page may be taken out before who put it in has counted it. The count wraps then, and is right again soon; entering
// and leaving "full" are changes of one atomic value, so the larger region's count misses neither.
void LeafRegions::change(Gfn gfn, std::uint32_t by) {
    Region* const region = find(gfn, Level::page_2m);
    if (region == nullptr) return;
    const std::uint32_t before = region->filled.fetch_add(by, std::memory_order_relaxed);
    const std::uint32_t after = before + by;
    if (before == entries_per_node) find(gfn, Level::page_1g)->filled.fetch_sub(1, std::memory_order_relaxed);
    if (after == entries_per_node) find(gfn, Level::page_1g)->filled.fetch_add(1, std::memory_order_relaxed);
}

void LeafRegions::add(Gfn gfn, std::uint64_t pages) {
    for (std::uint64_t done = 0; done < pages; done += entries_per_node) {
        change(gfn + done, static_cast<std::uint32_t>(std::min(pages - done, entries_per_node)));
    }
}

void LeafRegions::remove(Gfn gfn, std::uint64_t pages) {
    for (std::uint64_t done = 0; done < pages; done += entries_per_node) {
        change(gfn + done, 0U - static_cast<std::uint32_t>(std::min(pages - done, entries_per_node)));
    }
}

bool LeafRegions::full(Gfn gfn, Level level) const {
    const Region* const region = find(gfn, level);
    return region != nullptr && region->filled.load(std::memory_order_relaxed) == entries_per_node;
}

void LeafRegions::hesitate(Gfn gfn, Level level, std::uint32_t misses) {
    if (Region* const region = find(gfn, level)) region->patience.store(misses, std::memory_order_relaxed);
}

bool LeafRegions::ripe(Gfn gfn, Level level) {
    Region* const region = find(gfn, level);
    if (region == nullptr || region->filled.load(std::memory_order_relaxed) != entries_per_node) return false;
    const std::uint32_t left = region->patience.load(std::memory_order_relaxed);
    // A hesitation that comes in between may be cut short by this: then one collapse too many is tried.
    if (left != 0) region->patience.store(left - 1, std::memory_order_relaxed);
    return left == 0;
}

}  // namespace penumbra::mmu
