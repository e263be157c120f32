// What every table of guest-physical translations has: the radix table, its hold-off sequence, the claims of the fault
// protocol and the freeze and thaw of the zap protocol. Tables add what a flush means.
//
// Faults install 4 KiB leaves. Where a table has larger ones too, somebody collapsed them, and whoever takes some of
// their pages out splits them before: a freeze takes every leaf that its event touches as a whole.
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
#include "shadow-mmu/table/dirty_log.hpp"
#include "shadow-mmu/table/memslots.hpp"
#include "shadow-mmu/table/page_table.hpp"
#include "shadow-mmu/table/split.hpp"

namespace penumbra::mmu {

/// Which leaves may be met in a table.
enum class LeafSizes : std::uint8_t { small, all };

template <class Format, LeafSizes sizes = LeafSizes::small>
class TableBase {
public:
    using Table = PageTable<Format>;
    using Cursor = typename Table::Cursor;
    using Memory = typename Table::Memory;

    TableBase(Memslots memslots, NodeArena arena) : memslots_(std::move(memslots)), table_(std::move(arena)) {}

    [[nodiscard]] const Memslots& memslots() const { return memslots_; }
    [[nodiscard]] bridge::IntervalSubscription& sequence() { return sequence_; }
    [[nodiscard]] TableCounters& counters() { return table_.counters(); }
    [[nodiscard]] std::uint64_t table_pages() const { return table_.table_pages(); }

    [[nodiscard]] bool present(Gfn gfn) {
        return Format::translates(table_.template lookup<LoadOrder::ordered>(gfn).raw);
    }
    [[nodiscard]] EntryState state_of(Gfn gfn) {
        const auto entry = table_.template lookup<LoadOrder::ordered>(gfn);
        return Table::state_of(entry.raw, entry.level);
    }

    /// Marks what may be written from now on in `log`, until told otherwise by null; before DirtyTracking::begin().
    /// What is claimed now is either seen by begin(), which waits for it, or sees the log: claim and log are
    /// sequentially consistent. While a log is on, a page that was faulted in to be read may not be written, and a
    /// write splits the large leaf that it goes through; where there is no table page for that, all its pages are
    /// marked. A log may be freed one grace period after it was replaced.
    void log_writes(DirtyBitmap* log) { log_.store(log, std::memory_order_seq_cst); }
    [[nodiscard]] bool logs_writes() const { return log_.load(std::memory_order_seq_cst) != nullptr; }
    /// For the operations of shadow-mmu/table over ranges: ageing, dirty tracking, split, collapse.
    [[nodiscard]] Table& table() { return table_; }

    // ---- the fault protocol's side ----
    /// Whether the entry serves the touch, or can be made to without a page: one that aged, or may be granted writes.
    [[nodiscard]] Standing touch(Gfn gfn, Touch touch) {
        const rcu::ReadSection section;
        Cursor cursor = table_.find(gfn);
        for (unsigned attempt = 0; attempt < touch_attempts; ++attempt) {
            if (cursor.slot == nullptr) return Standing::absent;
            const std::uint64_t raw = Memory::load_ordered(*cursor.slot);
            // A table page may have been linked here since the walk saw the entry empty, or saw a large leaf.
            if (Table::state_of(raw, cursor.level) == EntryState::table) {
                if (sizes == LeafSizes::small) return Standing::absent;
                cursor = table_.find(gfn);
                continue;
            }
            if (Format::allows(raw, touch)) return Standing::serves;
            if (!is_leaf(Table::state_of(raw, cursor.level))) return Standing::absent;
            const std::uint64_t better = Format::touched(raw, planted(Plant::read_grants_write) ? Touch::write : touch);
            if (!Format::allows(better, touch)) return Standing::forbidden;
            const bool grants = Format::writable(better) && !Format::writable(raw);
            if (grants && split_to_log(gfn, cursor.level)) {
                cursor = table_.find(gfn);
                continue;
            }
            if (!move(cursor, raw, better)) continue;
            if (grants && !planted(Plant::grant_unlogged)) {
                log_write(planted(Plant::grant_logs_neighbour) ? gfn + 1 : gfn, cursor.level);
            }
            return Standing::granted;
        }
        return Standing::absent;
    }
    /// Taken: the entry is the caller's, until publish or abandon.
    [[nodiscard]] Claim claim(Gfn gfn, Cursor& entry) {
        const Claim claimed = claim_once(gfn, entry);
        if (sizes == LeafSizes::small || claimed != Claim::out_of_memory) return claimed;
        // Collapses retire table pages, and leave them until there are many.
        return table_.reclaim() ? claim_once(gfn, entry) : claimed;
    }
    void publish(const Cursor& entry, Hvp page, Touch touch = Touch::write) {
        const std::uint64_t leaf = Format::leaf(page, Permission::read_write, entry.level);
        if (!logs_writes()) [[likely]]
            return own(entry, Format::busy(), leaf);
        if (touch == Touch::read) return own(entry, Format::busy(), Format::write_protected(leaf));
        own(entry, Format::busy(), leaf);
        if (const std::optional<Gfn> gfn = memslots_.to_guest(page)) log_write(*gfn, entry.level);
    }
    void abandon(const Cursor& entry) { own(entry, Format::busy(), 0); }
    [[nodiscard]] Claim claim(Gfn gfn) {
        Cursor entry;
        return claim(gfn, entry);
    }
    void abandon(Gfn gfn) { abandon(table_.find(gfn)); }

protected:
    /// One frozen entry of an invalidation in progress.
    struct Frozen {
        Cursor cursor;
        std::uint64_t raw;  // as frozen
        Gfn gfn;            // first of the leaf
        std::size_t index;  // page number within the event, of the first that the leaf spans

        [[nodiscard]] GfnRange pages() const { return {gfn, pages_spanned(cursor.level)}; }
    };

    [[nodiscard]] bool move(const Cursor& cursor, std::uint64_t from, std::uint64_t to) {
        return transition<Format, Memory>(*cursor.slot, from, to, cursor.level, table_.counters());
    }
    /// As move(), of an entry that the caller claimed or froze.
    void own(const Cursor& cursor, std::uint64_t from, std::uint64_t to) {
        settle<Format, Memory>(*cursor.slot, from, to, cursor.level, table_.counters());
    }

    [[nodiscard]] static GfnRange leaf_at(Gfn gfn, Level level) {
        const std::uint64_t size = pages_spanned(level);
        return {Gfn{gfn.value() / size * size}, size};
    }
    /// Freezes every present entry of the event, in ascending order; waits for busy and frozen ones if it may. False: a
    /// non-blockable event met one, and everything frozen so far was thawed. Ascending order keeps two overlapping
    /// invalidations from waiting for each other: leaves of any size are ordered as their pages are. A leaf that the
    /// event covers in part is frozen too.
    [[nodiscard]] bool freeze(const bridge::InvalidationEvent& event, std::vector<Frozen>& frozen) {
        std::size_t index = 0;
        bool done = true;
        for (const HvpRange& range : event.ranges.ranges()) {
            memslots_.for_each_guest_range(range, [&](GfnRange guest) {
                const Hvp host_first = *memslots_.to_host(guest.first());
                done = done && freeze_range(event.blockable, guest, index + (host_first - range.first()), frozen);
            });
            index += range.pages();
        }
        if (done) return true;
        for (const Frozen& entry : frozen) thaw(entry);
        frozen.clear();
        return false;
    }
    /// Marks what a leaf spans, if writes are logged.
    void log_write(Gfn gfn, Level level) {
        const rcu::ReadSection section;
        if (DirtyBitmap* log = log_.load(std::memory_order_seq_cst)) log->mark(gfn, pages_spanned(level));
    }
    void thaw(const Frozen& entry) { own(entry.cursor, entry.raw, Format::thawed(entry.raw)); }
    void clear(const Frozen& entry) { own(entry.cursor, entry.raw, 0); }

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
    static constexpr unsigned touch_attempts = 8;  // two of them may be splits

    /// Who holds up a walk, if anybody.
    struct Obstacle {
        typename Table::Slot* slot = nullptr;
        std::uint64_t raw = 0;
    };

    [[nodiscard]] Claim claim_once(Gfn gfn, Cursor& entry) {
        std::uint64_t raw = 0;
        {
            const rcu::ReadSection section;
            entry = table_.find_or_create(gfn);
            if (entry.slot == nullptr) return Claim::out_of_memory;
            // Above 4 KiB somebody has the entry that the walk ended at: it is empty by now, perhaps, but not this
            // page's.
            if (entry.level == Level::page_4k && move(entry, 0, Format::busy())) {
                if (!released_.load(std::memory_order_seq_cst) || planted(Plant::install_after_release))
                    return Claim::taken;
                abandon(entry);  // release() either saw the busy entry and waits for it, or is seen here
                return Claim::released;
            }
            raw = Memory::load_ordered(*entry.slot);
        }
        const EntryState state = Table::state_of(raw, entry.level);
        if (state == EntryState::present) return Claim::present;
        if (state == EntryState::frozen && planted(Plant::frozen_counts_as_present)) return Claim::present;
        // A frozen empty entry is a table page being taken out, which is soon done. Who froze a leaf may take long, and
        // holds the page off: the fault waits for that with a deadline.
        if (state == EntryState::busy || raw == Format::frozen(0)) Memory::wait(*entry.slot, raw);
        return Claim::contended;
    }
    /// Page 0 of `guest` has number `base` in the event.
    bool freeze_range(bridge::Blockable blockable, GfnRange guest, std::size_t base, std::vector<Frozen>& frozen) {
        Gfn gfn = guest.first();
        // A large leaf that was frozen for an earlier range of the event covers pages of this one too.
        if (sizes == LeafSizes::all && !frozen.empty() && frozen.back().pages().contains(gfn)) {
            gfn = frozen.back().pages().end();
        }
        while (gfn < guest.end()) {
            Obstacle obstacle;
            {
                const rcu::ReadSection section;
                gfn = table_.visit(gfn, guest.end(), entries_per_node, [&](Gfn at, const Cursor& cursor) {
                    return freeze_one(cursor, at, base + (at - guest.first()), frozen, obstacle);
                });
            }
            if (obstacle.slot == nullptr) continue;
            if (blockable == bridge::Blockable::no) return false;
            Memory::wait(*obstacle.slot, obstacle.raw);
        }
        return true;
    }
    Visit freeze_one(const Cursor& cursor, Gfn gfn, std::size_t index, std::vector<Frozen>& frozen,
                     Obstacle& obstacle) {
        for (;;) {
            const std::uint64_t raw = Memory::load_ordered(*cursor.slot);
            switch (Table::state_of(raw, cursor.level)) {
                case EntryState::empty:
                    return Visit::next;
                case EntryState::present:
                case EntryState::aged:
                    if (!move(cursor, raw, Format::frozen(raw))) continue;
                    frozen.push_back(Frozen{cursor, Format::frozen(raw), leaf_at(gfn, cursor.level).first(), index});
                    return Visit::next;
                case EntryState::busy:
                case EntryState::frozen:
                    obstacle = {cursor.slot, raw};
                    return Visit::stop;
                case EntryState::table:
                case EntryState::retired:
                    return Visit::stop;  // it changed under the walk, which goes on from here
            }
        }
    }

    /// True when the leaf at `level`, to which a write wants W, was split to be logged by smaller pages.
    [[nodiscard]] bool split_to_log(Gfn gfn, Level level) {
        if (sizes == LeafSizes::small || level == Level::page_4k || !logs_writes()) return false;
        return split(table_, gfn) != SplitResult::out_of_memory;
    }

    std::atomic<bool> released_{false};
    std::atomic<DirtyBitmap*> log_{nullptr};
};

}  // namespace penumbra::mmu
