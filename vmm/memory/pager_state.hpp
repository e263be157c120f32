// What the fault path and the reclaimer share: where every page is, what that costs, and the tiers.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/counters.hpp"
#include "base/planted.hpp"
#include "base/range.hpp"
#include "vmm/memory/budget.hpp"
#include "vmm/memory/kept_copies.hpp"
#include "vmm/memory/limbo.hpp"
#include "vmm/memory/page_state.hpp"
#include "vmm/memory/slow_tiers.hpp"
#include "vmm/memory/tier/compressed_tier.hpp"

namespace penumbra::vmm {

struct PagerStats {
    Counter faults;
    Counter prefetched;   ///< pages brought in beside the one that was asked for
    Counter swapped_out;  ///< pages that left the window
    Counter swapped_in;   ///< pages that came back from a tier behind limbo
    Counter rescued;      ///< pages that came back from limbo
    Counter zero_pages;   ///< pages found all zero on their way out: nothing stored
    Counter kept;         ///< pages that the kernel would not give
    Counter would_block;  ///< non-blockable evictions that met somebody
    Counter reclaim_passes;
    Counter waits_for_room;            ///< faults that had to wait for the budget
    LatencyHistogram handler_latency;  ///< fault message read to sleeper woken
};

struct PagerState {
    PagerState(HvpRange window_pages, std::uint64_t vm, PageStates page_states, std::unique_ptr<Limbo> limbo_ring,
               std::optional<CompressedTier> compressed_tier, SlowTiers slow_tiers, std::uint64_t budget_bytes)
        : window(window_pages),
          vm_id(vm),
          words(std::move(page_states)),
          limbo(std::move(limbo_ring)),
          compressed(std::move(compressed_tier)),
          slow(std::move(slow_tiers)),
          budget(budget_bytes, [this] { return compressed ? compressed->charged_bytes() : 0; }),
          // Half a page each: an eighth of the budget.
          copies(budget_bytes / page_bytes / 4, [this](PageCopy copy) { drop(copy); }) {}

    [[nodiscard]] PageIndex index_of(Hvp page) const {
        return PageIndex{static_cast<std::uint32_t>(page - window.first())};
    }
    [[nodiscard]] Hvp page_at(PageIndex index) const { return window.first() + static_cast<std::uint64_t>(index); }
    [[nodiscard]] PageIdentity identity(PageIndex page, PageWord word) const {
        return {vm_id, static_cast<std::uint64_t>(page), word.version()};
    }

    /// Takes a copy, if there is one, out of its tier.
    void drop(PageCopy copy) {
        if (copy.tier == CopyTier::compressed) return compressed->drop(copy.handle);
        slow.drop(copy);
    }

    /// Whether a copy was made of just these bytes of the page.
    [[nodiscard]] bool matches(PageIndex page, PageCopy copy, ConstPageBytes bytes) const {
        const PageOwner owner{vm_id, static_cast<std::uint64_t>(page)};
        return copy.tier == CopyTier::compressed ? compressed->matches(copy.handle, owner, bytes)
                                                 : slow.matches(copy, owner, bytes);
    }

    /// The page's content is not wanted any more. Inside a discard bracket, so that nobody puts it in meanwhile.
    void forget(PageIndex page) {
        for (;;) {
            const PageWord word = words.load(page);
            if (!words.change(page, word, word.next_version().moved_to(PageState::zero))) continue;
            if (word.state() == PageState::resident) budget.uncharge(1);
            if (!planted(Plant::forget_keeps_copy)) drop(word.only_copy());
            if (word.state() == PageState::resident) copies.drop(word.copy());
            // A page in a slot is emptied, and uncharged, when its slot is packed. Should the slot have gone to another
            // page already, then that one loses its copy, which costs time and nothing else.
            if (word.in_slot()) copies.drop(limbo->take_copy(static_cast<std::uint32_t>(word.handle())));
            return;
        }
    }

    const HvpRange window;
    const std::uint64_t vm_id;
    PageStates words;
    std::unique_ptr<Limbo> limbo;
    std::optional<CompressedTier> compressed;
    SlowTiers slow;
    Budget budget;
    KeptCopies copies;
    PagerStats stats;
    std::atomic<bool> stopping{false};  ///< set once: every wait ends, no page is supplied any more
};

}  // namespace penumbra::vmm
