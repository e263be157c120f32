// A walk over a range in bounded steps: each step is one read-side section over at most a table page's worth of
// entries, and what lies between steps may change in any way. The next step walks from the root again, to the frame
// behind the last one visited, so that a walk ends however tables change (KVM: tdp_iter, tdp_mmu_iter_cond_resched).
#pragma once

#include <cstdint>

#include "base/planted.hpp"
#include "shadow-mmu/table/page_table.hpp"

namespace penumbra::mmu {

/// Who holds up a walk: an entry that is busy or frozen.
template <class Table>
struct Obstacle {
    typename Table::Slot* slot = nullptr;
    std::uint64_t raw = 0;

    [[nodiscard]] explicit operator bool() const { return slot != nullptr; }
    /// Sleeps until its owner is done with it. Outside sections, owning nothing further on.
    void wait() const { Table::Memory::wait(*slot, raw); }
};

template <class Table>
class RangeSteps {
public:
    using Cursor = typename Table::Cursor;

    RangeSteps(Table& table, GfnRange range, unsigned budget = entries_per_node)
        : table_(table), next_(range.first()), end_(range.end()), budget_(budget) {}

    [[nodiscard]] bool done() const { return !(next_ < end_); }
    [[nodiscard]] Gfn next() const { return next_; }

    /// One step. fn(gfn, cursor, raw) -> Visit sees leaves, present and aged, and may stop, to have the same frame
    /// again in the next step. Entries that somebody owns are passed over or, if `wait`, stop the step and are waited
    /// for after it.
    enum class Owned : std::uint8_t { skip, wait };
    template <class Fn>
    void step(Owned owned, Fn&& fn) {
        Obstacle<Table> obstacle;
        {
            const rcu::ReadSection section;
            next_ = table_.visit(next_, end_, budget_, [&](Gfn gfn, const Cursor& cursor) {
                const std::uint64_t raw = Table::Memory::load_ordered(*cursor.slot);
                switch (Table::state_of(raw, cursor.level)) {
                    case EntryState::present:
                    case EntryState::aged:
                        return fn(gfn, cursor, raw);
                    case EntryState::busy:
                    case EntryState::frozen:
                        if (owned == Owned::skip) return Visit::next;
                        obstacle = {cursor.slot, raw};
                        return Visit::stop;
                    case EntryState::retired:
                    case EntryState::table:
                        return Visit::stop;  // it changed under the walk, which goes on from here
                    case EntryState::empty:
                        break;
                }
                return Visit::next;
            });
        }
        if (planted(Plant::step_passes_over)) next_ = next_ + 1;
        if (obstacle) obstacle.wait();
    }
    /// All steps. fn(gfn, cursor, raw) -> Visit.
    template <class Fn>
    void run(Owned owned, Fn&& fn) {
        while (!done()) step(owned, fn);
    }

private:
    Table& table_;
    Gfn next_;
    const Gfn end_;
    const unsigned budget_;
};

}  // namespace penumbra::mmu
