// The one radix walker, for every format.
//
//   level 4          level 3          level 2          level 1
//   [ 512 entries ]-->[ 512 ]-------->[ 512 ]-------->[ 512 leaves: host virtual pages ]
//                        `- 1 GiB leaf   `- 2 MiB leaf
//
// Walks take no lock: an entry is loaded once and either names a lower table or ends the walk. A missing table page is
// linked by compare-and-swap; who loses uses the winner's and gives his own back.
//
// Table pages can be unlinked (zap.hpp, collapse.hpp): whoever does freezes all entries of the page and the entry that
// names it, flushes, changes that entry, and only then marks the page's entries retired. So a walk goes through a
// frozen table as through any other, meets frozen entries below, and who waits for one is woken when a new walk will
// tell what came of it. The page itself is used again after a grace period: hold a ReadSection from the walk to the
// last use of its cursor, or own the entry (busy, frozen), for a page with an owned entry is not unlinked.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include "base/page_size.hpp"
#include "base/planted.hpp"
#include "base/range.hpp"
#include "base/rcu.hpp"
#include "shadow-mmu/table/entry_memory.hpp"
#include "shadow-mmu/table/entry_transition.hpp"
#include "shadow-mmu/table/node_arena.hpp"
#include "shadow-mmu/table/retired_nodes.hpp"

namespace penumbra::mmu {

enum class LoadOrder : std::uint8_t { plain, ordered };

/// What a visitor wants: the next entry, or to stop at this one and have it again.
enum class Visit : std::uint8_t { next, stop };

/// Nodes must have: allocate() -> optional<Hvp> of a zeroed page, give_back(Hvp) of a page that is zero again,
/// allocated(). Thread-safe.
template <class TableFormat, class EntryMemory = AtomicEntryMemory, class Nodes = NodeArena>
class PageTable {
public:
    using Format = TableFormat;
    using Memory = EntryMemory;
    using Slot = typename Memory::Slot;
    static_assert(sizeof(Slot) * entries_per_node == page_bytes);

    /// Where a walk ended: an entry and the level it stands at; `above` is the entry that names its page, null for the
    /// root's.
    struct Cursor {
        Slot* slot = nullptr;
        Level level = Level::page_4k;
        Slot* above = nullptr;
    };
    /// An entry's value and its level. `raw` is 0 where nothing is mapped.
    struct Entry {
        std::uint64_t raw = 0;
        Level level = Level::page_4k;
    };

    /// `nodes` must have at least one page left, for the root.
    explicit PageTable(Nodes nodes) : nodes_(std::move(nodes)) {
        const std::optional<Hvp> root = nodes_.allocate();
        PENUMBRA_ASSERT(root.has_value(), "no page for a table's root");
        root_ = slots_of(*root);
    }

    /// The entry that ends the walk for `gfn`, as of some moment during the call. Ordered: not before anything that
    /// the caller announced by a sequentially consistent write.
    template <LoadOrder order = LoadOrder::plain>
    [[nodiscard]] Entry lookup(Gfn gfn) const {
        const rcu::ReadSection section;
        return look<order>(gfn);
    }
    /// As lookup(), within the caller's section.
    template <LoadOrder order = LoadOrder::plain>
    [[nodiscard]] Entry look(Gfn gfn) const {
        assert_reach(gfn);
        const Slot* node = root_;
        for (Level level = Format::top_level;; level = below(level)) {
            const Slot& slot = node[index_of(gfn, level)];
            const std::uint64_t raw = order == LoadOrder::plain ? Memory::load(slot) : Memory::load_ordered(slot);
            if (level == Level::page_4k || !Format::leads_down(raw)) return {raw, level};
            node = slots_of(Format::frame(raw));
        }
    }
    /// The host page of `gfn`, if a walker would find one.
    [[nodiscard]] std::optional<Hvp> translate(Gfn gfn) const {
        const Entry entry = lookup(gfn);
        if (!Format::translates(entry.raw)) return std::nullopt;
        return Format::frame(entry.raw, entry.level) + gfn.value() % pages_spanned(entry.level);
    }

    /// Down to `lowest`, or to the entry that leads no further; never null.
    [[nodiscard]] Cursor walk(Gfn gfn, Level lowest) {
        assert_reach(gfn);
        Slot* node = root_;
        Slot* above = nullptr;
        for (Level level = Format::top_level;; level = below(level)) {
            Slot* slot = node + index_of(gfn, level);
            if (level == lowest) return {slot, level, above};
            const std::uint64_t raw = Memory::load_ordered(*slot);
            if (!Format::leads_down(raw)) return {slot, level, above};
            node = slots_of(Format::frame(raw));
            above = slot;
        }
    }
    /// The entry that translates `gfn`: a leaf of any size, or the empty entry of the lowest table on the way. slot is
    /// null when a table page on the way is missing.
    [[nodiscard]] Cursor find(Gfn gfn, Level lowest = Level::page_4k) {
        for (;;) {
            const Cursor cursor = walk(gfn, lowest);
            if (cursor.level == lowest) return cursor;
            const std::uint64_t raw = Memory::load_ordered(*cursor.slot);
            if (raw == 0) return {};
            if (!Format::leads_down(raw)) return cursor;  // else it was linked since: each turn ends deeper
        }
    }
    /// As find(), but links missing table pages down to `lowest`. slot is null when there are no more pages: reclaim()
    /// outside sections may bring some.
    [[nodiscard]] Cursor find_or_create(Gfn gfn, Level lowest = Level::page_4k) {
        for (;;) {  // each turn links one level or finds it linked
            const Cursor cursor = walk(gfn, lowest);
            if (cursor.level == lowest) return cursor;
            const std::uint64_t raw = Memory::load_ordered(*cursor.slot);
            if (Format::leads_down(raw)) continue;
            if (raw != 0) return cursor;
            const std::optional<Hvp> node = nodes_.allocate();
            if (!node && planted(Plant::reclaim_in_section)) (void)reclaim();
            if (!node) return {};
            if (!transition<Format, Memory>(*cursor.slot, 0, Format::table(*node), cursor.level, counters_)) {
                nodes_.give_back(*node);
            }
        }
    }

    /// Calls fn(gfn, cursor) -> Visit for existing entries at the level where walks end within [first, end), in order,
    /// and returns where to go on; skips what has no table page. A large leaf is visited at the first gfn of the range
    /// that it covers. Takes about `budget` steps at most, inside the caller's section.
    template <class Fn>
    [[nodiscard]] Gfn visit(Gfn first, Gfn end, unsigned budget, Fn&& fn) {
        Gfn gfn = first;
        for (unsigned steps = 0; gfn < end && steps < budget;) {
            const Cursor cursor = walk(gfn, Level::page_4k);
            if (cursor.level == Level::page_4k) {
                const std::uint64_t left = entries_per_node - index_of(gfn, Level::page_4k);
                const std::uint64_t count = std::min<std::uint64_t>(left, end - gfn);
                for (std::uint64_t i = 0; i < count; ++i) {
                    if (fn(gfn + i, Cursor{cursor.slot + i, cursor.level, cursor.above}) == Visit::stop) return gfn + i;
                }
                gfn += count;
                steps += static_cast<unsigned>(count);
                continue;
            }
            ++steps;
            const std::uint64_t raw = Memory::load_ordered(*cursor.slot);
            if (Format::leads_down(raw)) continue;
            if (raw != 0 && fn(gfn, cursor) == Visit::stop) return gfn;
            gfn = std::min(end, next_at(gfn, cursor.level));
        }
        return gfn;
    }
    /// visit() over the whole range, in sections of bounded length. fn(gfn, cursor) returns nothing.
    template <class Fn>
    void for_each(GfnRange range, Fn&& fn) {
        Gfn gfn = range.first();
        while (gfn < range.end()) {
            const rcu::ReadSection section;
            gfn = visit(gfn, range.end(), entries_per_node, [&](Gfn at, const Cursor& cursor) {
                fn(at, cursor);
                return Visit::next;
            });
        }
    }

    // ---- table pages ----
    [[nodiscard]] std::optional<Hvp> allocate_node() { return nodes_.allocate(); }
    /// Of a page that no walker can have seen, zero again.
    void give_back_node(Hvp node) { nodes_.give_back(node); }
    /// The page was unlinked and flushed; it is used again after a grace period.
    void retire_node(Hvp node) { retired_.add(node); }
    /// Whether so many pages are retired that whoever retires more should reclaim first.
    [[nodiscard]] bool reclaim_is_due() const { return retired_.many(); }
    /// Waits for a grace period and takes retired pages back; false when there were none. Call outside sections, owning
    /// no entry.
    bool reclaim() {
        return retired_.take([this](Hvp node) {
            for (std::uint64_t i = 0; i < entries_per_node; ++i) Memory::reset(slots_of(node)[i]);
            nodes_.give_back(node);
        });
    }
    [[nodiscard]] static Slot* slots_of(Hvp node) { return reinterpret_cast<Slot*>(pointer_to(node)); }
    [[nodiscard]] static std::uint64_t index_of(Gfn gfn, Level level) {
        return (gfn.value() >> (index_bits * (static_cast<unsigned>(level) - 1))) & (entries_per_node - 1);
    }
    /// The first frame behind the entry at `level` that covers `gfn`.
    [[nodiscard]] static Gfn next_at(Gfn gfn, Level level) {
        return Gfn{(gfn.value() / pages_spanned(level) + 1) * pages_spanned(level)};
    }

    [[nodiscard]] static EntryState state_of(std::uint64_t raw, Level level) { return Format::state(raw, level); }
    [[nodiscard]] TableCounters& counters() { return counters_; }
    [[nodiscard]] const TableCounters& counters() const { return counters_; }
    /// Linked or retired and not reclaimed yet.
    [[nodiscard]] std::uint64_t table_pages() const { return nodes_.allocated(); }

private:
    static void assert_reach(Gfn gfn) {
        PENUMBRA_ASSERT(gfn.value() < pages_spanned(Format::top_level) * entries_per_node,
                        "gfn beyond the table's reach");
    }
    Nodes nodes_;
    Slot* root_ = nullptr;
    RetiredNodes retired_;
    TableCounters counters_;
};

}  // namespace penumbra::mmu
