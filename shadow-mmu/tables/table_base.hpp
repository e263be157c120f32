// What every table of guest-physical translations has: the radix table, its hold-off sequence, the claims of the fault
// protocol and the freeze and thaw of the zap protocol. Tables add what a flush means.
#pragma once

#include <atomic>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/planted.hpp"
#include "notifier-bridge/interval_subscription.hpp"
#include "notifier-bridge/subscriber.hpp"
#include "shadow-mmu/fault/fault.hpp"
#include "shadow-mmu/table/memslots.hpp"
#include "shadow-mmu/table/page_table.hpp"

namespace penumbra::mmu {

template <class Format>
class TableBase {
public:
    using Table = PageTable<Format>;
    using Cursor = typename Table::Cursor;

    TableBase(Memslots memslots, NodeArena arena) : memslots_(std::move(memslots)), table_(std::move(arena)) {}

    [[nodiscard]] const Memslots& memslots() const { return memslots_; }
    [[nodiscard]] bridge::IntervalSubscription& sequence() { return sequence_; }
    [[nodiscard]] TableCounters& counters() { return table_.counters(); }
    [[nodiscard]] std::uint64_t table_pages() const { return table_.table_pages(); }

    [[nodiscard]] bool present(Gfn gfn) { return state_of(gfn) == EntryState::present; }
    [[nodiscard]] EntryState state_of(Gfn gfn) {
        const Cursor cursor = table_.find(gfn);
        if (cursor.slot == nullptr) return EntryState::empty;
        return Table::state_of(AtomicEntryMemory::load(*cursor.slot), cursor.level);
    }

    // ---- the fault protocol's side ----
    [[nodiscard]] Claim claim(Gfn gfn) {
        const Cursor cursor = table_.find_or_create(gfn);
        if (cursor.slot == nullptr) return Claim::out_of_memory;
        if (move(cursor, 0, Format::busy())) {
            if (!released_.load(std::memory_order_seq_cst)) return Claim::taken;
            abandon(gfn);  // release() either saw the busy entry and waits for it, or is seen here
            return Claim::released;
        }
        const std::uint64_t raw = AtomicEntryMemory::load(*cursor.slot);
        const EntryState state = Table::state_of(raw, cursor.level);
        if (state == EntryState::present) return Claim::present;
        if (state == EntryState::busy) AtomicEntryMemory::wait(*cursor.slot, raw);
        return Claim::contended;
    }
    void publish(Gfn gfn, Hvp page) {
        const Cursor cursor = table_.find(gfn);
        const bool moved = move(cursor, Format::busy(), Format::leaf(page, Permission::read_write, cursor.level));
        PENUMBRA_ASSERT(moved, "a claimed entry was changed by somebody else");
    }
    void abandon(Gfn gfn) {
        const Cursor cursor = table_.find(gfn);
        PENUMBRA_ASSERT(move(cursor, Format::busy(), 0), "a claimed entry was changed by somebody else");
    }

protected:
    /// One frozen entry of an invalidation in progress.
    struct Frozen {
        Cursor cursor;
        std::uint64_t raw;  // as frozen
        Gfn gfn;
        std::size_t index;  // page number within the event
    };

    [[nodiscard]] bool move(const Cursor& cursor, std::uint64_t from, std::uint64_t to) {
        return transition<Format, AtomicEntryMemory>(*cursor.slot, from, to, cursor.level, table_.counters());
    }

    /// Freezes every present entry of the event, in ascending order; waits for busy and frozen ones if it may. False: a
    /// non-blockable event met one, and everything frozen so far was thawed. Ascending order keeps two overlapping
    /// invalidations from waiting for each other.
    [[nodiscard]] bool freeze(const bridge::InvalidationEvent& event, std::vector<Frozen>& frozen) {
        std::size_t index = 0;
        bool blocked = false;
        for (const HvpRange& range : event.ranges.ranges()) {
            memslots_.for_each_guest_range(range, [&](GfnRange guest) {
                const Hvp host_first = *memslots_.to_host(guest.first());
                const std::size_t base = index + (host_first - range.first());
                table_.for_each(guest, [&](Gfn gfn, const Cursor& cursor) {
                    if (!blocked) blocked = !freeze_one(event, cursor, gfn, base + (gfn - guest.first()), frozen);
                });
            });
            index += range.pages();
        }
        if (!blocked) return true;
        for (const Frozen& entry : frozen) thaw(entry);
        frozen.clear();
        return false;
    }
    void thaw(const Frozen& entry) {
        PENUMBRA_ASSERT(move(entry.cursor, entry.raw, Format::thawed(entry.raw)), "a frozen entry was changed");
    }
    void clear(const Frozen& entry) { PENUMBRA_ASSERT(move(entry.cursor, entry.raw, 0), "a frozen entry was changed"); }

    /// First step of release(): no install from now on, and what is present is frozen; entries in hand finish first.
    struct Everything {
        bridge::InvalidationEvent event;
        std::vector<Frozen> frozen;
    };
    [[nodiscard]] Everything freeze_everything() {
        released_.store(true, std::memory_order_seq_cst);
        Everything all;
        all.event.reason = bridge::Reason::release;
        for (const Memslot& slot : memslots_.slots()) all.event.ranges.add(slot.host_pages());
        PENUMBRA_ASSERT(freeze(all.event, all.frozen), "a blockable freeze was blocked");
        return all;
    }
    /// Last step of a device table's start: nothing of what is frozen is left.
    void drop(const std::vector<Frozen>& frozen) {
        for (const Frozen& entry : frozen) {
            if (planted(Plant::skip_device_zap)) {
                thaw(entry);
            } else {
                clear(entry);
            }
        }
    }

    Memslots memslots_;
    Table table_;
    bridge::IntervalSubscription sequence_;

private:
    bool freeze_one(const bridge::InvalidationEvent& event, const Cursor& cursor, Gfn gfn, std::size_t index,
                    std::vector<Frozen>& frozen) {
        for (;;) {
            const std::uint64_t raw = AtomicEntryMemory::load(*cursor.slot);
            switch (Table::state_of(raw, cursor.level)) {
                case EntryState::empty:
                    return true;
                case EntryState::present:
                    if (!move(cursor, raw, Format::frozen(raw))) continue;
                    frozen.push_back(Frozen{cursor, Format::frozen(raw), gfn, index});
                    return true;
                case EntryState::busy:
                case EntryState::frozen:
                    if (event.blockable == bridge::Blockable::no) return false;
                    AtomicEntryMemory::wait(*cursor.slot, raw);
                    continue;
                case EntryState::table:
                    assertion_failed("leaf", __FILE__, __LINE__, "a table entry where a walk ended");
            }
        }
    }

    std::atomic<bool> released_{false};
};

}  // namespace penumbra::mmu
