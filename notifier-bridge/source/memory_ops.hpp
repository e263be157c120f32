// Changes to guest memory that Penumbra makes itself, each inside its bracket.
#pragma once

#include <algorithm>
#include <functional>
#include <span>
#include <utility>

#include "base/assert.hpp"
#include "notifier-bridge/address_space.hpp"

namespace penumbra::bridge {

enum class Bracket : std::uint8_t { done, would_block };

/// Takes pages out of the window into staging slots: page i of `pages` (ascending, distinct) to slots[i]. `settle(i,
/// outcome)` is called once per page between start and end, while nobody can put a page back: the place to record where
/// it is now.
template <class Settle>
[[nodiscard]] Bracket swap_out(AddressSpace& space, std::span<const Hvp> pages, std::span<const Hvp> slots,
                               std::span<TakeOut> outcomes, Blockable blockable, Settle&& settle) {
    // The event counts its pages in address order: any other order here would hand one page's content to another.
    PENUMBRA_ASSERT(std::adjacent_find(pages.begin(), pages.end(), std::greater_equal<>{}) == pages.end(),
                    "pages of a swap_out that do not ascend");
    StagingPlan plan{slots, outcomes};
    InvalidationEvent event;
    event.reason = Reason::swap_out;
    event.blockable = blockable;
    for (const Hvp page : pages) event.ranges.add(HvpRange{page, 1});
    event.staging = &plan;
    const Invalidation bracket(space, std::move(event));
    if (!bracket.started()) return Bracket::would_block;
    for (std::size_t i = 0; i < pages.size(); ++i) settle(i, outcomes[i]);
    return Bracket::done;
}

/// Drops pages and their content. `forget()` runs between start and end.
template <class Forget>
void discard(AddressSpace& space, RangeSet ranges, Forget&& forget) {
    InvalidationEvent event;
    event.reason = Reason::discard;
    event.ranges = std::move(ranges);
    const Invalidation bracket(space, std::move(event));
    forget();
}

}  // namespace penumbra::bridge
