#include "shadow-mmu/table/large_pages.hpp"

#include <limits>
#include <utility>

#include "base/assert.hpp"
#include "base/planted.hpp"

namespace penumbra::mmu {

LargePages::LargePages(const Memslots& memslots) {
    for (const Memslot& slot : memslots.slots()) {
        Slot made{slot.guest, {}};
        for (std::size_t s = 0; s < sizes.size() && !slot.guest.empty(); ++s) {
            const std::uint64_t span = pages_spanned(sizes[s]);
            const std::uint64_t first = slot.guest.first().value() / span;
            const std::uint64_t end = (slot.guest.end().value() - 1) / span + 1;
            const bool congruent = slot.guest.first().value() % span == slot.host.value() % span;
            made.counts[s] = std::make_unique<Count[]>(end - first);
            for (std::uint64_t region = first; region < end; ++region) {
                const bool inside = slot.guest.contains(GfnRange{Gfn{region * span}, span});
                const bool fits =
                    (congruent || planted(Plant::incongruent_large)) && (inside || planted(Plant::large_over_edge));
                made.counts[s][region - first].store(fits ? 0 : 1, std::memory_order_relaxed);
            }
        }
        slots_.push_back(std::move(made));
    }
}

LargePages::Count* LargePages::find(Gfn gfn, Level level) const {
    for (const Slot& slot : slots_) {
        if (!slot.guest.contains(gfn)) continue;
        const std::uint64_t span = pages_spanned(level);
        return &slot.counts[level == Level::page_2m ? 0 : 1][gfn.value() / span - slot.guest.first().value() / span];
    }
    return nullptr;
}

void LargePages::disallow(Gfn gfn) {
    for (const Level level : sizes) {
        Count* count = find(gfn, level);
        if (count == nullptr || planted(Plant::miss_disallow)) continue;
        const std::uint32_t before = count->fetch_add(1, std::memory_order_acq_rel);
        PENUMBRA_ASSERT(before != std::numeric_limits<std::uint32_t>::max(), "too many reasons against a large leaf");
    }
}

void LargePages::allow(Gfn gfn) {
    for (const Level level : sizes) {
        Count* count = find(gfn, level);
        if (count == nullptr) continue;
        const std::uint32_t before = count->fetch_sub(1, std::memory_order_acq_rel);
        PENUMBRA_ASSERT(before != 0 || planted(Plant::allow_below_zero),
                        "a large leaf was allowed more often than forbidden");
    }
}

bool LargePages::allowed(Gfn gfn, Level level) const {
    if (level == Level::page_4k) return true;
    const Count* count = level <= Level::page_1g ? find(gfn, level) : nullptr;
    return count != nullptr && count->load(std::memory_order_acquire) == 0;
}

Level LargePages::largest(Gfn gfn, Level wanted) const {
    for (Level level = wanted; level > Level::page_4k; level = below(level)) {
        if (allowed(gfn, level)) return level;
    }
    return Level::page_4k;
}

std::uint32_t LargePages::count(Gfn gfn, Level level) const {
    const Count* count = find(gfn, level);
    return count == nullptr ? 0 : count->load(std::memory_order_acquire);
}

}  // namespace penumbra::mmu
