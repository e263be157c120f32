// The one choke point: every change of every entry of every table passes through here. It refuses illegal moves, keeps
// the counts and wakes who waits for the entry. (Model: __handle_changed_spte in arch/x86/kvm/mmu/tdp_mmu.c. A present
// leaf never changes its frame without passing through non-present and a flush.)
//
// Inlined wherever it is used: what is known there (a claim goes from empty to busy) decides most of it beforehand.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "base/assert.hpp"
#include "base/page_size.hpp"
#include "base/planted.hpp"
#include "shadow-mmu/format/entry_state.hpp"
#include "shadow-mmu/table/table_counters.hpp"

namespace penumbra::mmu {

/// `one`: nobody else changes the table now, though others may walk it.
enum class Writers : std::uint8_t { many, one };

[[nodiscard]] constexpr bool is_leaf(EntryState state) {
    return state == EntryState::present || state == EntryState::aged;
}

/// A leaf as a format makes it: of a size that exists, with rights that imply each other.
template <class Format>
[[nodiscard]] constexpr bool is_whole_leaf(std::uint64_t entry, Level level) {
    return level <= Level::page_1g && is_leaf(Format::state(entry, level)) &&
           (Format::writes_are_legal(entry) || planted(Plant::unlawful_rights));
}

template <class Format>
[[nodiscard, gnu::always_inline]] constexpr bool is_legal(std::uint64_t from, std::uint64_t to, Level level,
                                                          Writers writers = Writers::many) {
    using enum EntryState;
    const bool low = level == Level::page_4k;
    const EntryState b = Format::state(to, level);
    switch (Format::state(from, level)) {
        case empty:
            return b == busy || (b == table && !low) || to == Format::frozen(0) ||
                   (writers == Writers::one && is_whole_leaf<Format>(to, level));
        case busy:
            return b == empty || is_whole_leaf<Format>(to, level) || planted(Plant::claim_becomes_anything);
        case present:
        case aged:
            if (to == Format::frozen(from)) return true;
            if (b == empty) return writers == Writers::one;
            if (b == table) return !low && level <= Level::page_1g;
            if (planted(Plant::host_right_changes)) from ^= (from ^ to) & Format::host_writable;
            return from != to && is_whole_leaf<Format>(to, level) &&
                   (Format::same_page(from, to) || planted(Plant::frame_changes)) &&
                   Format::host_may_write(from) == Format::host_may_write(to);
        case table:
            return to == Format::frozen(from) || planted(Plant::leaf_over_table);
        case frozen:
            if (to == Format::thawed(from) || b == empty || b == retired || planted(Plant::thaw_to_another))
                return true;
            return !low && Format::leads_down(from) && is_whole_leaf<Format>(to, level);
        case retired:
            return false;
    }
    return false;
}

/// Whether a cached translation may permit what the new entry does not, or hide a touch that it wants to see: the
/// change must be flushed before anybody relies on it. Clearing A alone owes nothing (KVM: kvm_mmu_clear_young), nor
/// does replacing a leaf by a table of the same translations.
template <class Format>
[[nodiscard]] constexpr bool owes_flush(std::uint64_t from, std::uint64_t to, Level level) {
    if (Format::state(from, level) == EntryState::table) return true;
    if (Format::state(from, level) != EntryState::present) return false;
    const EntryState b = Format::state(to, level);
    if (b == EntryState::table || b == EntryState::aged) return false;
    if (b != EntryState::present) return true;
    const Rights before = Format::rights(from);
    if ((before | Format::rights(to)) != Format::rights(to) && !planted(Plant::lost_right_owes_nothing)) return true;
    return Format::is_dirty(from) && !Format::is_dirty(to) && !planted(Plant::cleaning_owes_nothing);
}

namespace entry_detail {
template <class Format, class Counters>
[[gnu::always_inline]] inline void account(std::uint64_t from, std::uint64_t to, Level level, Counters& counters) {
    if (planted(Plant::uncounted_entry)) return;
    const EntryState left = Format::state(from, level);
    const EntryState entered = Format::state(to, level);
    const bool was_leaf = is_leaf(left);
    if (is_leaf(entered) && !was_leaf) {
        const bool was_table = level > Level::page_4k && left == EntryState::frozen && Format::leads_down(from);
        if (left != EntryState::frozen || was_table) counters.mapped.add(pages_spanned(level));
    } else if (left == EntryState::frozen && (entered == EntryState::empty || entered == EntryState::retired)) {
        if (is_leaf(Format::state(Format::thawed(from), level))) counters.zapped.add(pages_spanned(level));
    } else if (was_leaf && entered == EntryState::empty) {
        counters.zapped.add(pages_spanned(level));
    }
}
}  // namespace entry_detail

/// Changes `slot` from `from` to `to` if it still holds `from`; false when somebody was faster, with nothing changed.
/// The walker's A and D bits count as somebody.
template <class Format, class Memory, class Counters>
[[nodiscard, gnu::always_inline]] inline bool transition(typename Memory::Slot& slot, std::uint64_t from,
                                                         std::uint64_t to, Level level, Counters& counters) {
    PENUMBRA_ASSERT(is_legal<Format>(from, to, level), "illegal entry transition");
    if (!Memory::compare_exchange(slot, from, to)) {
        if (!planted(Plant::blind_store)) return false;
        slot = to;
    }
    entry_detail::account<Format>(from, to, level, counters);
    const EntryState left = Format::state(from, level);
    if (left == EntryState::busy || left == EntryState::frozen) Memory::wake(slot);
    return true;
}

/// As transition(), by the entry's owner: who claimed or froze it. Cannot fail.
template <class Format, class Memory, class Counters>
[[gnu::always_inline]] inline void settle(typename Memory::Slot& slot, std::uint64_t from, std::uint64_t to,
                                          Level level, Counters& counters) {
    PENUMBRA_ASSERT(is_legal<Format>(from, to, level), "illegal entry transition");
    PENUMBRA_ASSERT(Memory::load(slot) == from, "an owned entry was changed by somebody else");
    Memory::store(slot, from, to);
    entry_detail::account<Format>(from, to, level, counters);
    Memory::wake(slot);
}

/// Some of the entries of one table page.
class EntryMask {
public:
    void set(std::uint64_t i) { words_[i / 64] |= std::uint64_t{1} << (i % 64); }
    void reset(std::uint64_t i) { words_[i / 64] &= ~(std::uint64_t{1} << (i % 64)); }
    [[nodiscard]] bool test(std::uint64_t i) const { return ((words_[i / 64] >> (i % 64)) & 1) != 0; }
    [[nodiscard]] bool none() const {
        return std::ranges::all_of(words_, [](std::uint64_t word) { return word == 0; });
    }
    template <class Fn>
    [[gnu::always_inline]] void for_each(Fn&& fn) const {
        for (std::uint64_t w = 0; w < words_.size(); ++w) {
            for (std::uint64_t left = words_[w]; left != 0; left &= left - 1) {
                fn(w * 64 + static_cast<std::uint64_t>(std::countr_zero(left)));
            }
        }
    }

private:
    std::array<std::uint64_t, entries_per_node / 64> words_{};
};

/// Freezes consecutive leaves from entry `first` on, and adds them to `mine`. Returns the entry it stopped at: `end`,
/// or one that is no leaf, or that somebody changed meanwhile.
template <Level level, class Format, class Memory>
[[nodiscard]] std::uint64_t freeze_leaves(typename Memory::Slot* slots, std::uint64_t first, std::uint64_t end,
                                          EntryMask& mine) {
    // A leaf may always be frozen, which changes no count and is nothing that anybody waits for.
    std::uint64_t i = first;
    for (; i < end; ++i) {
        const std::uint64_t raw = Memory::load_ordered(slots[i]);
        if (!is_leaf(Format::state(raw, level)) || !Memory::compare_exchange(slots[i], raw, Format::frozen(raw))) break;
        mine.set(i);
    }
    return i;
}

/// settle() of many entries of a page that the caller froze, to empty or to retired; before each is changed,
/// gone(index, leaf) hears of it if it was a leaf.
template <class Format, class Memory, class Counters, class Gone>
void settle_frozen(typename Memory::Slot* slots, const EntryMask& mine, std::uint64_t to, Level level,
                   Counters& counters, Gone&& gone) {
    PENUMBRA_ASSERT(to == 0 || to == Format::retired(), "illegal entry transition");
    std::uint64_t leaves = 0;
    mine.for_each([&](std::uint64_t i) {
        const std::uint64_t raw = Memory::load(slots[i]);
        PENUMBRA_ASSERT(Format::state(raw, level) == EntryState::frozen, "an owned entry was changed by somebody else");
        if (raw != Format::frozen(0)) {
            gone(i, planted(Plant::zap_forgets_marks) ? Format::aged(Format::cleaned(Format::thawed(raw)))
                                                      : Format::thawed(raw));
            ++leaves;
        }
        Memory::store(slots[i], raw, to);
    });
    counters.zapped.add(planted(Plant::uncounted_zap) ? 0 : leaves * pages_spanned(level));
    if (Memory::may_sleep()) mine.for_each([&](std::uint64_t i) { Memory::wake(slots[i]); });
}

/// Puts `count` leaves of consecutive pages, the first of them `leaf`, into empty entries, where nobody else writes the
/// table. Readers may walk it; the walker may not set A or D bits meanwhile. Returns how many from the front were
/// empty.
template <class Format, class Memory, class Counters>
[[nodiscard]] std::uint64_t fill_alone(typename Memory::Slot* slots, std::uint64_t count, std::uint64_t leaf,
                                       Level level, Counters& counters) {
    // Consecutive pages differ in frame bits alone, so that one leaf speaks for all.
    const std::uint64_t step = pages_spanned(level) << page_shift;
    PENUMBRA_ASSERT((is_legal<Format>(0, leaf, level, Writers::one)), "illegal entry transition");
    PENUMBRA_ASSERT(Format::same_page(leaf & ~Format::frame_mask, (leaf + (count - 1) * step) & ~Format::frame_mask),
                    "pages beyond what an entry can name");
    std::uint64_t filled = 0;
    for (; filled < count && Memory::load(slots[filled]) == 0; ++filled) {
        Memory::store(slots[filled], 0, leaf + filled * step);
    }
    counters.mapped.add(filled * pages_spanned(level));
    return filled;
}

/// Empties what is a leaf among `count` entries, where nobody else writes the table, and tells gone(index, leaf). The
/// caller owes the flush. Returns how many there were.
template <class Format, class Memory, class Counters, class Gone>
std::uint64_t clear_alone(typename Memory::Slot* slots, std::uint64_t count, Level level, Counters& counters,
                          Gone&& gone) {
    std::uint64_t cleared = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint64_t raw = Memory::load(slots[i]);
        if (raw == 0) continue;
        PENUMBRA_ASSERT((is_legal<Format>(raw, 0, level, Writers::one)), "illegal entry transition");
        Memory::store(slots[i], raw, 0);
        gone(i, raw);
        ++cleared;
    }
    counters.zapped.add(cleared * pages_spanned(level));
    return cleared;
}

/// Fills an entry of a node that is not linked yet with one of the leaves that a split makes of `whole`.
template <class Format, class Memory>
void prefill(typename Memory::Slot& slot, std::uint64_t old, std::uint64_t whole, std::uint64_t child, Level level) {
    PENUMBRA_ASSERT(
        is_whole_leaf<Format>(child, below(level)) && Format::state(child, below(level)) == Format::state(whole, level),
        "a split would not translate as before");
    Memory::store(slot, old, child);
}

}  // namespace penumbra::mmu
