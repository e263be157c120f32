// What happened, to which pages, how firmly: the event every subscriber is told of.
//
// The vocabulary follows enum mmu_notifier_event (include/linux/mmu_notifier.h), split further where the kernel says
// only MMU_NOTIFY_CLEAR, because a subscriber may keep a hint for a page that migrates and none for one that is
// swapped.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/range.hpp"

namespace penumbra::bridge {

enum class Reason : std::uint8_t {
    unmap,
    remap,
    protect,
    discard,
    swap_out,
    migrate_node,
    migrate_device,
    exclusive,
    fork_cow,
    cow_break,
    write_protect,
    dedup,
    split,
    collapse,
    poison,
    release,
    unknown,
};
inline constexpr std::size_t reason_count = static_cast<std::size_t>(Reason::unknown) + 1;

[[nodiscard]] std::string_view name_of(Reason reason);

/// Whether Penumbra makes the change itself between start and end, or learns of one that the host already made.
enum class Strength : std::uint8_t { bracketed, observed };

/// A non-blockable event may not wait for a device to drain or an install to finish; it is answered would_block
/// instead.
enum class Blockable : std::uint8_t { no, yes };

/// Sorted, disjoint, non-adjacent ranges of host virtual pages. Not thread-safe.
class RangeSet {
public:
    RangeSet() = default;
    explicit RangeSet(HvpRange range) { add(range); }

    /// Adds a range; overlapping and adjacent ranges merge. Appending in ascending order is O(1).
    void add(HvpRange range);
    void clear() { ranges_.clear(); }
    [[nodiscard]] std::span<const HvpRange> ranges() const { return ranges_; }
    [[nodiscard]] bool empty() const { return ranges_.empty(); }
    [[nodiscard]] std::uint64_t pages() const;
    [[nodiscard]] bool contains(Hvp page) const;
    [[nodiscard]] bool overlaps(HvpRange range) const;

private:
    std::vector<HvpRange> ranges_;
};

/// What became of one page of a swap_out.
enum class TakeOut : std::uint8_t {
    absent,  ///< it was not in the window: nothing to take
    taken,   ///< its content is in its staging slot now
    kept,    ///< the kernel would not give it: it stays in the window, its entry present as before
};

/// Where the pages of a swap_out go. Page i of the event, counted in address order over all ranges, goes to slots[i];
/// the one subscriber that owns the window writes outcomes[i] before its start returns. Both spans have one element per
/// page.
struct StagingPlan {
    std::span<const Hvp> slots;
    std::span<TakeOut> outcomes;
};

/// One event. `staging` is set for swap_out only and lives until the scope ends.
struct InvalidationEvent {
    Reason reason = Reason::unknown;
    Strength strength = Strength::bracketed;
    Blockable blockable = Blockable::yes;
    RangeSet ranges;
    StagingPlan* staging = nullptr;
};

}  // namespace penumbra::bridge
