// A large leaf becomes a table of 512 smaller ones that translate exactly as it did, rights and A and D included.
//
// The new page is filled before anybody can see it and linked by one compare-and-swap, so no state between is visible,
// and no flush is owed: whatever a TLB holds of the large leaf stays true. (KVM: tdp_mmu_split_huge_page, "no need for
// a flush"; SDM volume 3, 4.10.2.3 lets a TLB hold both sizes as long as they agree.)
#pragma once

#include <cstdint>
#include <optional>

#include "base/planted.hpp"
#include "shadow-mmu/table/page_table.hpp"

namespace penumbra::mmu {

enum class SplitResult : std::uint8_t {
    done,
    no_large_leaf,  ///< nothing larger than 4 KiB is there
    contended,      ///< somebody is changing it: look again
    out_of_memory,  ///< no table page left; nothing changed
};

namespace split_detail {

/// 512 leaves instead of `whole`, into a page that nobody sees.
template <class Table>
void fill(typename Table::Slot* node, std::uint64_t whole, Level level) {
    using Format = typename Table::Format;
    for (std::uint64_t i = 0; i < entries_per_node; ++i) {
        std::uint64_t child = Format::child(whole, i, level);
        if (planted(Plant::split_forgets_rights)) {
            child = Format::leaf(Format::frame(child, below(level)), Permission::read_write, below(level));
        }
        if (planted(Plant::split_forgets_marks)) child = Format::aged(Format::cleaned(child));
        prefill<Format, typename Table::Memory>(node[i], Table::Memory::load(node[i]), whole, child, level);
    }
}

template <class Table>
void discard(Table& table, Hvp node) {
    for (std::uint64_t i = 0; i < entries_per_node; ++i) Table::Memory::reset(Table::slots_of(node)[i]);
    table.give_back_node(node);
}

}  // namespace split_detail

/// Splits the large leaf over `gfn` by one level. Never waits; may run beside anything else.
template <class Table>
[[nodiscard]] SplitResult split(Table& table, Gfn gfn) {
    using Format = typename Table::Format;
    const rcu::ReadSection section;
    const auto cursor = table.walk(gfn, Level::page_4k);
    std::uint64_t raw = Table::Memory::load_ordered(*cursor.slot);
    if (cursor.level == Level::page_4k || raw == 0) return SplitResult::no_large_leaf;
    if (!is_leaf(Format::state(raw, cursor.level))) return SplitResult::contended;
    const std::optional<Hvp> node = table.allocate_node();
    if (!node) return SplitResult::out_of_memory;
    do {  // again when the walker set A or D, or somebody changed rights; else somebody took the leaf away
        split_detail::fill<Table>(Table::slots_of(*node), raw, cursor.level);
        if (transition<Format, typename Table::Memory>(*cursor.slot, raw, Format::table(*node), cursor.level,
                                                       table.counters())) {
            table.counters().splits.add();
            return SplitResult::done;
        }
        raw = Table::Memory::load_ordered(*cursor.slot);
    } while (is_leaf(Format::state(raw, cursor.level)));
    split_detail::discard(table, *node);
    return SplitResult::contended;
}

/// Splits every leaf of the range that is larger than `largest` (KVM: kvm_tdp_mmu_try_split_huge_pages). Each is split
/// in a read-side section of its own. out_of_memory: the rest is as it was. Entries that somebody else has in hand
/// stay.
template <class Table>
[[nodiscard]] SplitResult split_range(Table& table, GfnRange range, Level largest = Level::page_4k) {
    Gfn gfn = range.first();
    while (gfn < range.end()) {
        Level found = Level::page_4k;
        {
            const rcu::ReadSection section;
            const auto cursor = table.walk(gfn, Level::page_4k);
            const std::uint64_t raw = Table::Memory::load(*cursor.slot);
            found = cursor.level;
            if (found <= largest || !is_leaf(Table::state_of(raw, found))) {
                gfn = Table::next_at(gfn, found > Level::page_4k ? found : Level::page_2m);
                continue;
            }
        }
        if (split(table, gfn) == SplitResult::out_of_memory) return SplitResult::out_of_memory;
    }
    return SplitResult::done;
}

}  // namespace penumbra::mmu
