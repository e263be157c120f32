// What all formats share: how the states and marks of an entry are made of the bits that a format names. A format's
// Bits give, besides positions, the bits every leaf and table of its kind has.
//
//   walkable leaf/table    live | walk bits | ...          the walker of the table follows it
//   aged                   live | tracked | saved walk bits without write
//   frozen                 kind = frozen, walk bits saved, the rest as it was: thawing gives exactly the old entry
//   busy, retired          the kind alone
#pragma once

#include <cstdint>

#include "base/address.hpp"
#include "base/assert.hpp"
#include "base/page_size.hpp"
#include "shadow-mmu/format/entry_state.hpp"

namespace penumbra::mmu {

template <class Bits, Level Top, AccessedDirty Ad>
struct BasicFormat : Bits {
    static_assert(Top == Level::top_4 || Top == Level::top_5);
    static constexpr Level top_level = Top;
    static constexpr AccessedDirty accessed_dirty = Ad;

    static constexpr std::uint64_t kind_mask = 3ULL << Bits::kind_shift;
    static constexpr std::uint64_t kind_busy = 1ULL << Bits::kind_shift;
    static constexpr std::uint64_t kind_frozen = 2ULL << Bits::kind_shift;
    static constexpr std::uint64_t kind_retired = 3ULL << Bits::kind_shift;
    static constexpr std::uint64_t saved_mask = Bits::walk << Bits::saved_shift;
    /// Software's and the walker's bits that may differ between two entries for the same page with the same memory
    /// type.
    static constexpr std::uint64_t may_change =
        Bits::rights_mask | Bits::walk | saved_mask | Bits::tracked | Bits::mmu_writable | Bits::accessed | Bits::dirty;

    // ---- making entries ----
    /// `frame` is a multiple of the level's size. Where the walker sets A and D bits a new leaf counts as touched, and
    /// as dirty if it may be written (KVM: make_spte, mmu/spte.c).
    [[nodiscard]] static constexpr std::uint64_t leaf(Hvp frame, Rights rights, Level level) {
        PENUMBRA_ASSERT(level <= Level::page_1g && frame.value() % pages_spanned(level) == 0,
                        "a leaf whose page is not aligned to its size");
        std::uint64_t entry = (frame.value() << page_shift) | Bits::live | Bits::encode(rights) |
                              (level == Level::page_4k ? Bits::small_leaf : Bits::small_leaf | Bits::large);
        if (rights.has(Right::write)) entry |= Bits::mmu_writable | Bits::host_writable;
        if (rights.has(Right::host_write)) entry |= Bits::host_writable;
        if (Ad == AccessedDirty::emulated) return entry;
        return entry | Bits::accessed | (rights.has(Right::write) ? Bits::dirty : 0);
    }
    [[nodiscard]] static constexpr std::uint64_t leaf(Hvp frame, Permission permission, Level level) {
        return leaf(frame, rights_of(permission), level);
    }
    [[nodiscard]] static constexpr std::uint64_t table(Hvp node) {
        return (node.value() << page_shift) | Bits::live | Bits::table_bits |
               (Ad == AccessedDirty::hardware ? Bits::table_accessed : 0);
    }
    [[nodiscard]] static constexpr std::uint64_t busy() { return kind_busy; }
    [[nodiscard]] static constexpr std::uint64_t retired() { return kind_retired; }
    /// Of a leaf, an aged leaf, a table or an empty entry.
    [[nodiscard]] static constexpr std::uint64_t frozen(std::uint64_t entry) { return hidden(entry) | kind_frozen; }
    [[nodiscard]] static constexpr std::uint64_t thawed(std::uint64_t entry) {
        entry &= ~kind_mask;
        return (entry & Bits::tracked) != 0 ? entry : shown(entry);
    }

    // ---- reading entries ----
    [[nodiscard]] static constexpr EntryState state(std::uint64_t entry, Level level) {
        if (entry == 0) return EntryState::empty;
        if ((entry & (kind_mask | Bits::tracked)) != 0) [[unlikely]] {
            if ((entry & kind_mask) == kind_busy) return EntryState::busy;
            if ((entry & kind_mask) == kind_frozen) return EntryState::frozen;
            return (entry & kind_mask) == kind_retired ? EntryState::retired : EntryState::aged;
        }
        return level == Level::page_4k || (entry & Bits::large) != 0 ? EntryState::present : EntryState::table;
    }
    /// True of a table, frozen or not: what lies below is reached through it until it is unlinked. `level` > 4 KiB.
    [[nodiscard]] static constexpr bool leads_down(std::uint64_t entry) {
        if ((entry & (Bits::live | Bits::large | Bits::tracked | kind_mask)) == Bits::live) [[likely]]
            return true;
        return (entry & (Bits::live | Bits::large | Bits::tracked | kind_mask)) == (Bits::live | kind_frozen);
    }
    /// True of a leaf that the walker follows. `entry` is not a table.
    [[nodiscard]] static constexpr bool translates(std::uint64_t entry) {
        return (entry & (Bits::live | Bits::tracked | kind_mask)) == Bits::live;
    }
    /// The page of a leaf in any state, or a table's node. The level matters for large leaves of the x86 format.
    [[nodiscard]] static constexpr Hvp frame(std::uint64_t entry, Level level = Level::page_4k) {
        const std::uint64_t below_size = (pages_spanned(level) - 1) << page_shift;
        return Hvp{(entry & Bits::frame_mask & ~below_size) >> page_shift};
    }
    [[nodiscard]] static constexpr Rights rights(std::uint64_t entry) {
        const Rights seen =
            Bits::decode((entry & Bits::tracked) != 0 || (entry & kind_mask) != 0 ? shown(entry) : entry);
        return (entry & Bits::host_writable) != 0 ? seen | Right::host_write : seen;
    }
    [[nodiscard]] static constexpr bool writable(std::uint64_t entry) { return (entry & Bits::write) != 0; }
    [[nodiscard]] static constexpr bool may_grant_write(std::uint64_t entry) {
        return (entry & Bits::mmu_writable) != 0;
    }
    [[nodiscard]] static constexpr bool host_may_write(std::uint64_t entry) {
        return (entry & Bits::host_writable) != 0;
    }
    /// (host-writable, MMU-writable, W) is 111, 110, 100 or 000 (KVM: the table in mmu/spte.h).
    [[nodiscard]] static constexpr bool writes_are_legal(std::uint64_t entry) {
        return (!writable(entry) || may_grant_write(entry)) && (!may_grant_write(entry) || host_may_write(entry));
    }
    /// The same page with the same size and memory type, whatever each permits and recorded.
    [[nodiscard]] static constexpr bool same_page(std::uint64_t a, std::uint64_t b) {
        return ((a ^ b) & ~may_change) == 0;
    }
    [[nodiscard]] static constexpr bool allows(std::uint64_t entry, Touch touch) {
        return translates(entry) && (touch == Touch::read || writable(entry));
    }

    // ---- accessed and dirty; of present or aged leaves ----
    [[nodiscard]] static constexpr bool young(std::uint64_t entry) {
        return Ad == AccessedDirty::hardware ? (entry & Bits::accessed) != 0 : (entry & Bits::tracked) == 0;
    }
    /// Written since it was cleaned; without D bits, possibly.
    [[nodiscard]] static constexpr bool is_dirty(std::uint64_t entry) {
        return Ad == AccessedDirty::hardware ? (entry & Bits::dirty) != 0 : writable(entry);
    }
    [[nodiscard]] static constexpr std::uint64_t aged(std::uint64_t entry) {
        if (Ad == AccessedDirty::hardware) return entry & ~Bits::accessed;
        if ((entry & Bits::tracked) != 0) return entry;
        return hidden(entry & ~Bits::write) | Bits::tracked;
    }
    [[nodiscard]] static constexpr std::uint64_t cleaned(std::uint64_t entry) {
        return Ad == AccessedDirty::hardware ? entry & ~Bits::dirty : write_protected(entry);
    }
    /// For dirty logging: a write faults, and touched() may give the right back.
    [[nodiscard]] static constexpr std::uint64_t write_protected(std::uint64_t entry) { return entry & ~Bits::write; }
    /// For tracking of writes: no fault gives the right back.
    [[nodiscard]] static constexpr std::uint64_t write_tracked(std::uint64_t entry) {
        return entry & ~(Bits::write | Bits::mmu_writable);
    }
    /// After an access that the leaf may serve: a write gets W only where the MMU may grant it.
    [[nodiscard]] static constexpr std::uint64_t touched(std::uint64_t entry, Touch touch) {
        entry = revived(entry);
        if (touch == Touch::write && may_grant_write(entry)) entry |= Bits::write;
        if (Ad == AccessedDirty::emulated) return entry;
        return entry | Bits::accessed | (touch == Touch::write && writable(entry) ? Bits::dirty : 0);
    }

    /// An aged leaf as it was before, without W; other leaves as they are.
    [[nodiscard]] static constexpr std::uint64_t revived(std::uint64_t entry) {
        return (entry & Bits::tracked) != 0 ? shown(entry) & ~Bits::tracked : entry;
    }
    /// As the walker sets them; nothing where it sets none.
    [[nodiscard]] static constexpr std::uint64_t with_accessed(std::uint64_t entry) {
        return Ad == AccessedDirty::hardware ? entry | Bits::accessed : entry;
    }
    [[nodiscard]] static constexpr std::uint64_t with_dirty(std::uint64_t entry) {
        return Ad == AccessedDirty::hardware ? entry | Bits::dirty : entry;
    }

    // ---- changes of size ----
    /// Two present leaves of the same size that a larger one could stand for: equal but for page, W, A and D.
    [[nodiscard]] static constexpr bool alike(std::uint64_t a, std::uint64_t b, Level level) {
        return ((a ^ b) & ~(frame_field(level) | Bits::write | Bits::accessed | Bits::dirty)) == 0;
    }
    /// Leaf `index` of the 512 that translate as the large leaf `entry` at `level` does, A and D included.
    [[nodiscard]] static constexpr std::uint64_t child(std::uint64_t entry, std::uint64_t index, Level level) {
        const Hvp page = frame(entry, level) + index * pages_spanned(below(level));
        const std::uint64_t sized = below(level) == Level::page_4k ? Bits::to_small(entry) : entry;
        return (sized & ~frame_field(below(level))) | (page.value() << page_shift);
    }
    /// The large leaf at `level` that begins where the leaf `first`, one level lower, does, with its other bits.
    [[nodiscard]] static constexpr std::uint64_t parent(std::uint64_t first, Level level) {
        return below(level) == Level::page_4k ? Bits::to_large(first) : first;
    }

private:
    /// Frame bits of a leaf at `level`, with those below its size that hold no other bit in a 4 KiB leaf.
    [[nodiscard]] static constexpr std::uint64_t frame_field(Level level) {
        return Bits::frame_mask & ~(level == Level::page_4k ? 0 : Bits::large_pat);
    }
    [[nodiscard]] static constexpr std::uint64_t hidden(std::uint64_t entry) {
        return (entry & ~Bits::walk) | ((entry & Bits::walk) << Bits::saved_shift);
    }
    [[nodiscard]] static constexpr std::uint64_t shown(std::uint64_t entry) {
        return (entry & ~(saved_mask | kind_mask)) | ((entry & saved_mask) >> Bits::saved_shift);
    }
};

/// No two of a format's marks share a bit, and none that survives a freeze lies where walk bits are saved.
template <class Format>
[[nodiscard]] consteval bool bits_are_apart() {
    std::uint64_t seen = 0;
    bool apart = true;
    for (const std::uint64_t mask :
         {Format::frame_mask, Format::walk, Format::saved_mask, Format::kind_mask, Format::live, Format::tracked,
          Format::host_writable, Format::mmu_writable, Format::accessed, Format::dirty, Format::large}) {
        apart = apart && (seen & mask) == 0;
        seen |= mask;
    }
    return apart && (Format::walk & Format::table_bits) == (Format::walk & Format::small_leaf_walk);
}

/// Freezing keeps the entry, ageing keeps the page, splitting keeps page and rights: for all leaves of a format.
template <class Format>
[[nodiscard]] consteval bool keeps_translations() {
    bool kept = true;
    for (const Level level : {Level::page_4k, Level::page_2m, Level::page_1g}) {
        for (const Rights rights : {Rights{}, Rights{Right::execute}, Right::execute | Right::user,
                                    Right::write | Right::host_write, rights_of(Permission::read_write)}) {
            const Hvp page{3 * pages_spanned(Level::page_1g)};
            const std::uint64_t leaf = Format::leaf(page, rights, level);
            const std::uint64_t aged = Format::aged(leaf);
            for (const std::uint64_t entry : {leaf, aged, Format::write_protected(leaf)}) {
                kept = kept && Format::thawed(Format::frozen(entry)) == entry &&
                       !Format::translates(Format::frozen(entry));
                kept = kept && Format::frame(Format::frozen(entry), level) == page && Format::writes_are_legal(entry);
                if (level == Level::page_4k) continue;
                const std::uint64_t last = Format::child(entry, 511, level);
                kept = kept && Format::frame(last, below(level)) == page + 511 * pages_spanned(below(level));
                kept = kept && Format::rights(last) == Format::rights(entry) &&
                       Format::young(last) == Format::young(entry);
                kept = kept && Format::state(last, below(level)) == Format::state(entry, level);
                kept = kept && Format::parent(Format::child(entry, 0, level), level) == entry;
            }
            kept = kept && !Format::young(aged) && Format::young(Format::touched(aged, Touch::read));
            kept = kept && Format::touched(aged, Touch::write) == leaf;
        }
    }
    return kept && Format::thawed(Format::frozen(0)) == 0 && Format::leads_down(Format::table(Hvp{8})) &&
           Format::leads_down(Format::frozen(Format::table(Hvp{8}))) && !Format::leads_down(Format::frozen(0));
}

}  // namespace penumbra::mmu
