// Mapping and unmapping a range by its only writer: when a table is built before it is shared, or under a lock that
// keeps every other writer out (KVM: the TDP MMU under mmu_lock held for write). Others may walk meanwhile.
#pragma once

#include <algorithm>
#include <cstdint>

#include "shadow-mmu/flush/flush_batch.hpp"
#include "shadow-mmu/table/page_table.hpp"

namespace penumbra::mmu {

/// Maps consecutive guest pages to consecutive host pages with 4 KiB leaves. Returns how many from the front were
/// mapped: fewer when an entry was not empty, or there was no table page left.
template <class Table>
[[nodiscard]] std::uint64_t map_alone(Table& table, GfnRange range, Hvp first, Rights rights) {
    using Format = typename Table::Format;
    std::uint64_t done = 0;
    while (done < range.pages()) {
        const Gfn gfn = range.first() + done;
        const rcu::ReadSection section;
        const auto cursor = table.find_or_create(gfn);
        if (cursor.slot == nullptr || cursor.level != Level::page_4k) return done;
        const std::uint64_t left = entries_per_node - Table::index_of(gfn, Level::page_4k);
        const std::uint64_t count = std::min(left, range.pages() - done);
        const std::uint64_t leaf = Format::leaf(first + done, rights, Level::page_4k);
        const std::uint64_t filled =
            fill_alone<Format, typename Table::Memory>(cursor.slot, count, leaf, Level::page_4k, table.counters());
        done += filled;
        if (filled < count) return done;
    }
    return done;
}

/// Unmaps every leaf of the range and commits the flush once, at the end: with no other writer nobody can put anything
/// in before that. Table pages stay. A large leaf that the range covers in part must have been split before.
/// gone(gfn, leaf, level) hears of each.
template <class Table, class Target, class Gone>
void zap_alone(Table& table, GfnRange range, FlushBatch<Target>& batch, Gone&& gone) {
    using Format = typename Table::Format;
    using Memory = typename Table::Memory;
    Gfn gfn = range.first();
    bool any = false;
    while (gfn < range.end()) {
        const rcu::ReadSection section;
        const auto cursor = table.walk(gfn, Level::page_4k);
        const std::uint64_t size = pages_spanned(cursor.level);
        PENUMBRA_ASSERT(cursor.level == Level::page_4k || Memory::load(*cursor.slot) == 0 ||
                            (gfn.value() % size == 0 && gfn + size <= range.end()),
                        "a zap of part of a large leaf");
        const std::uint64_t left =
            cursor.level == Level::page_4k ? entries_per_node - Table::index_of(gfn, Level::page_4k) : std::uint64_t{1};
        const Gfn next =
            std::min(range.end(), cursor.level == Level::page_4k ? gfn + left : Table::next_at(gfn, cursor.level));
        const std::uint64_t count = cursor.level == Level::page_4k ? next - gfn : 1;
        const std::uint64_t cleared =
            clear_alone<Format, Memory>(cursor.slot, count, cursor.level, table.counters(),
                                        [&](std::uint64_t i, std::uint64_t raw) { gone(gfn + i, raw, cursor.level); });
        if (cleared != 0) batch.add(GfnRange{gfn, next - gfn});
        any = any || cleared != 0;
        gfn = next;
    }
    batch.commit();
    if (any) table.counters().tlb_flushes.add();
}

}  // namespace penumbra::mmu
