// Mapping a range while others fault, zap and walk: entries are claimed by runs, the run is made reachable by one call,
// and published. What somebody else has put in or has in hand is left to them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/planted.hpp"
#include "shadow-mmu/table/range_steps.hpp"

namespace penumbra::mmu {

enum class PopulateResult : std::uint8_t {
    done,
    refused,        ///< fill() said no; what came before it is mapped
    out_of_memory,  ///< no table page left; what came before is mapped
};

namespace populate_detail {

inline constexpr std::uint64_t longest_run = 64;

/// Claims entries from the cursor on; how many.
template <class Table>
[[nodiscard]] std::uint64_t claim_run(Table& table, const typename Table::Cursor& cursor, std::uint64_t most) {
    using Format = typename Table::Format;
    std::uint64_t claimed = 0;
    while (claimed < most && transition<Format, typename Table::Memory>(cursor.slot[claimed], 0, Format::busy(),
                                                                        Level::page_4k, table.counters())) {
        ++claimed;
    }
    return claimed;
}

}  // namespace populate_detail

/// Maps consecutive guest pages to consecutive host pages, with 4 KiB leaves. fill(GfnRange, HvpRange) -> bool is
/// called with each run claimed and no lock or section held; it must look again at what promised that the pages may be
/// mapped (IntervalSubscription::read_retry) and make them reachable.
template <class Table, class Fill>
[[nodiscard]] PopulateResult populate(Table& table, GfnRange range, Hvp first, Rights rights, Fill&& fill) {
    using Format = typename Table::Format;
    using Memory = typename Table::Memory;
    TableTally tally(table.counters());
    std::uint64_t done = 0;
    while (done < range.pages()) {
        const Gfn gfn = range.first() + done;
        typename Table::Cursor cursor;
        std::uint64_t run = 0;
        std::uint64_t most = 0;
        Obstacle<Table> obstacle;
        {
            const rcu::ReadSection section;
            cursor = table.find_or_create(gfn);
            if (cursor.slot == nullptr) return PopulateResult::out_of_memory;
            if (cursor.level == Level::page_4k) {
                const std::uint64_t left = entries_per_node - Table::index_of(gfn, Level::page_4k);
                most = std::min({left, range.pages() - done, populate_detail::longest_run});
                run = populate_detail::claim_run(table, cursor, most);
            } else {
                obstacle = {cursor.slot, Memory::load_ordered(*cursor.slot)};
            }
        }
        if (obstacle) {  // a large leaf is mapped already; what else stops a walk up there is somebody's, and passes
            const EntryState state = Format::state(obstacle.raw, cursor.level);
            if (is_leaf(state)) done += Table::next_at(gfn, cursor.level) - gfn;
            if (state == EntryState::busy || state == EntryState::frozen) obstacle.wait();
            continue;
        }
        const Hvp page = first + done;
        // Claimed entries keep their page where it is.
        const bool filled =
            run == 0 || fill(GfnRange{gfn, run}, HvpRange{page, run}) || planted(Plant::populate_ignores_refusal);
        const Rights given = planted(Plant::populate_ignores_rights) ? rights_of(Permission::read_write) : rights;
        const std::uint64_t leaf = Format::leaf(page, given, Level::page_4k);
        for (std::uint64_t i = 0; i < run; ++i) {
            settle<Format, Memory>(cursor.slot[i], Format::busy(), filled ? leaf + (i << page_shift) : 0,
                                   Level::page_4k, tally);
        }
        if (!filled && !planted(Plant::populate_passes_refusal)) return PopulateResult::refused;
        done += run < most ? run + 1 : run;  // past the one that is somebody else's
    }
    return PopulateResult::done;
}

}  // namespace penumbra::mmu
