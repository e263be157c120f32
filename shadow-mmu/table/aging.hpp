// Whether pages were accessed, from their entries (KVM: kvm_tdp_mmu_age_gfn_range, kvm_tdp_mmu_test_age_gfn). Where the
// walker sets A bits they tell; elsewhere an entry that was aged and is still aged was not touched.
//
// Entries that a fault or a zap has in hand are passed over: the first were just touched, the second are on their way
// out, and their A and D bits go to who zaps them.
#pragma once

#include <cstdint>

#include "base/planted.hpp"
#include "shadow-mmu/flush/flush_batch.hpp"
#include "shadow-mmu/table/range_steps.hpp"

namespace penumbra::mmu {

/// Forgets that the range was accessed; whether anything was. lost_write(gfn, leaf, level) hears of each leaf that
/// loses W by being aged, which without D bits is all that told of writes. Flushes nothing: a cached translation goes
/// on serving accesses unseen, and permits no more than it did.
template <class Table, class LostWrite>
bool clear_young(Table& table, GfnRange range, LostWrite&& lost_write) {
    using Format = typename Table::Format;
    bool any = false;
    RangeSteps<Table> steps(table, range);
    steps.run(RangeSteps<Table>::Owned::skip, [&](Gfn gfn, const auto& cursor, std::uint64_t raw) {
        if (!Format::young(raw)) return Visit::next;
        const std::uint64_t aged = Format::aged(raw);
        if (!transition<Format, typename Table::Memory>(*cursor.slot, raw, aged, cursor.level, table.counters())) {
            return Visit::stop;  // have it again
        }
        any = true;
        if (planted(Plant::aging_forgets_writes)) return Visit::next;
        if (Format::writable(raw) && !Format::writable(aged)) lost_write(gfn, raw, cursor.level);
        return Visit::next;
    });
    return any;
}

/// Changes nothing. Stops at the first that was accessed.
template <class Table>
[[nodiscard]] bool test_young(Table& table, GfnRange range) {
    using Format = typename Table::Format;
    if (planted(Plant::young_query_clears)) {
        return clear_young(table, range, [](Gfn, std::uint64_t, Level) {});
    }
    bool any = false;
    RangeSteps<Table> steps(table, range);
    while (!steps.done() && !any) {
        steps.step(RangeSteps<Table>::Owned::skip, [&](Gfn, const auto&, std::uint64_t raw) {
            any = any || Format::young(raw);
            return any ? Visit::stop : Visit::next;
        });
    }
    return any;
}

/// As clear_young(), and no cached translation of what was young survives: the next access shows.
template <class Table, class Target, class LostWrite>
bool clear_flush_young(Table& table, GfnRange range, FlushBatch<Target>& batch, LostWrite&& lost_write) {
    if (!clear_young(table, range, lost_write)) return false;
    batch.add(range);
    batch.commit();
    table.counters().tlb_flushes.add();
    return true;
}

}  // namespace penumbra::mmu
