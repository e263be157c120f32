// The one choke point: every change of every entry of every table passes through transition(), which refuses illegal
// moves and keeps the counts. (Model: __handle_changed_spte in arch/x86/kvm/mmu/tdp_mmu.c. A present leaf never changes
// its frame without passing through non-present and a flush.)
#pragma once

#include <cstdint>

#include "base/assert.hpp"
#include "base/counters.hpp"
#include "base/page_size.hpp"
#include "shadow-mmu/format/entry_state.hpp"

namespace penumbra::mmu {

/// What one table did since it was made. `present` can be compared with the world at quiet moments.
struct TableCounters {
    Counter mapped;        ///< entries that became present
    Counter zapped;        ///< present entries dropped
    Counter faults;        ///< faults handled for this table
    Counter retries;       ///< faults that met an invalidation and began again
    Counter tlb_flushes;   ///< committed flush batches
    Counter stale_faults;  ///< touches through an entry that named an absent page: must stay 0
};

template <class Format>
[[nodiscard]] constexpr bool is_legal(std::uint64_t from, std::uint64_t to, Level level) {
    using enum EntryState;
    const EntryState a = Format::state(from, level);
    const EntryState b = Format::state(to, level);
    if (a == empty) return b == busy || (b == table && level != Level::page_4k);
    if (a == busy) return b == empty || b == present;
    if (a == present) return b == frozen && Format::frozen(from) == to;
    if (a == frozen) return b == empty || (b == present && Format::thawed(from) == to);
    return false;  // table pages live as long as their table
}

/// Changes `slot` from `from` to `to` if it still holds `from`; false when somebody was faster, with nothing changed.
template <class Format, class Memory>
[[nodiscard]] bool transition(typename Memory::Slot& slot, std::uint64_t from, std::uint64_t to, Level level,
                              TableCounters& counters) {
    PENUMBRA_ASSERT(is_legal<Format>(from, to, level), "illegal entry transition");
    if (!Memory::compare_exchange(slot, from, to)) return false;
    const EntryState left = Format::state(from, level);
    const EntryState entered = Format::state(to, level);
    if (left == EntryState::busy && entered == EntryState::present) counters.mapped.add();
    if (left == EntryState::frozen && entered == EntryState::empty) counters.zapped.add();
    if (left == EntryState::busy || left == EntryState::frozen) Memory::wake(slot);
    return true;
}

}  // namespace penumbra::mmu
