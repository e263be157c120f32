// The one radix walker, for every format.
//
//   level 4          level 3          level 2          level 1
//   [ 512 entries ]-->[ 512 ]-------->[ 512 ]-------->[ 512 leaves: host virtual pages ]
//                        `- 1 GiB leaf   `- 2 MiB leaf
//
// Walks take no lock: an entry is loaded once and either names a lower table, which lives as long as the PageTable, or
// ends the walk. A missing table page is linked by compare-and-swap; who loses uses the winner's and gives his own
// back.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "base/page_size.hpp"
#include "base/range.hpp"
#include "shadow-mmu/table/entry_memory.hpp"
#include "shadow-mmu/table/entry_transition.hpp"
#include "shadow-mmu/table/node_arena.hpp"

namespace penumbra::mmu {

template <class Format, class Memory = AtomicEntryMemory>
class PageTable {
public:
    using Slot = typename Memory::Slot;
    static_assert(sizeof(Slot) * entries_per_node == page_bytes);

    /// Where a walk ended: an entry and the level it stands at.
    struct Cursor {
        Slot* slot = nullptr;
        Level level = Level::page_4k;
    };

    /// `arena` must have at least one page left, for the root.
    explicit PageTable(NodeArena arena) : arena_(std::move(arena)) {
        const std::optional<Hvp> root = arena_.allocate();
        PENUMBRA_ASSERT(root.has_value(), "no page for a table's root");
        root_ = *root;
    }

    /// The entry that translates `gfn`: a leaf of any size, or the empty entry of the lowest table on the way. slot is
    /// null when a table page on the way is missing.
    [[nodiscard]] Cursor find(Gfn gfn) { return walk<OnMissing::stop>(gfn); }
    /// As find(), but links missing table pages down to 4 KiB level. slot is null when the arena is used up.
    [[nodiscard]] Cursor find_or_create(Gfn gfn) { return walk<OnMissing::create>(gfn); }

    /// Calls fn(gfn, cursor) for every existing entry at the level where walks end within `range`, in order; skips what
    /// has no table page. A large leaf is visited once, at the first gfn of the range that it covers.
    template <class Fn>
    void for_each(GfnRange range, Fn&& fn) {
        Gfn gfn = range.first();
        while (gfn < range.end()) {
            const auto [cursor, missing] = descend(gfn);
            const std::uint64_t span = pages_spanned(missing ? *missing : cursor.level);
            if (!missing) fn(gfn, cursor);
            gfn = Gfn{(gfn.value() / span + 1) * span};
        }
    }

    [[nodiscard]] static EntryState state_of(std::uint64_t raw, Level level) { return Format::state(raw, level); }
    [[nodiscard]] TableCounters& counters() { return counters_; }
    [[nodiscard]] const TableCounters& counters() const { return counters_; }
    [[nodiscard]] std::uint64_t table_pages() const { return arena_.allocated(); }

private:
    enum class OnMissing : std::uint8_t { stop, create };

    static Slot* slot_of(Hvp node, Gfn gfn, Level level) {
        const unsigned shift = index_bits * (static_cast<unsigned>(level) - 1);
        return reinterpret_cast<Slot*>(pointer_to(node)) + ((gfn.value() >> shift) & (entries_per_node - 1));
    }

    /// The cursor where the walk ends, or the level of the empty entry that has no table page below it.
    std::pair<Cursor, std::optional<Level>> descend(Gfn gfn) {
        Hvp node = root_;
        for (Level level = Format::top_level;; level = below(level)) {
            Slot* slot = slot_of(node, gfn, level);
            if (level == Level::page_4k) return {Cursor{slot, level}, std::nullopt};
            const std::uint64_t raw = Memory::load(*slot);
            const EntryState state = Format::state(raw, level);
            if (state == EntryState::empty) return {Cursor{slot, level}, level};
            if (state != EntryState::table) return {Cursor{slot, level}, std::nullopt};
            node = Format::frame(raw);
        }
    }

    template <OnMissing on_missing>
    Cursor walk(Gfn gfn) {
        PENUMBRA_ASSERT(gfn.value() < pages_spanned(Format::top_level) * entries_per_node,
                        "gfn beyond the table's reach");
        for (;;) {  // each turn links one level or finds it linked
            const auto [cursor, missing] = descend(gfn);
            if (!missing) return cursor;
            if (on_missing == OnMissing::stop) return {};
            const std::optional<Hvp> node = arena_.allocate();
            if (!node) return {};
            if (!transition<Format, Memory>(*cursor.slot, 0, Format::table(*node), cursor.level, counters_)) {
                arena_.give_back(*node);
            }
        }
    }

    NodeArena arena_;
    Hvp root_;
    TableCounters counters_;
};

}  // namespace penumbra::mmu
