// Taking leaves and whole table pages out while others walk, claim and zap: freeze, flush, clear (KVM:
// tdp_mmu_zap_spte_atomic, handle_removed_pt).
//
//   entries of one table page    leaf -> frozen; where the page goes too, empty -> frozen and the entry above -> frozen
//   several pages' worth, then   one commit of the flush
//   then                         the entry above -> empty, entries -> empty or retired, the page retired
//
// Who meets a frozen entry waits for nobody while it owns one itself, or only for entries further on, so that zaps
// never wait for each other in a circle: this one finishes what it owns before it waits.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "base/planted.hpp"
#include "shadow-mmu/flush/flush_batch.hpp"
#include "shadow-mmu/table/range_steps.hpp"
#include "shadow-mmu/table/split.hpp"

namespace penumbra::mmu {

/// What becomes of table pages that a zap covers wholly.
enum class TablePages : std::uint8_t { keep, reclaim };

/// One thread's zaps of one table. Target as for FlushBatch, with runs of type GfnRange. No lock is held while it waits
/// or flushes.
template <class Table, class Target>
class Zapper {
public:
    using Format = typename Table::Format;
    using Memory = typename Table::Memory;
    using Slot = typename Table::Slot;

    Zapper(Table& table, Target& target) : table_(table), batch_(target), tally_(table.counters()) {}

    /// On return nothing of the range that was there at the call is, and nothing of it is cached. gone(gfn, leaf,
    /// level) hears of each leaf as it was, with its A and D bits, after the flush and before anybody can map the frame
    /// again. A large leaf that the range covers in part is split, or goes wholly if there is no page for that: gfn and
    /// level say which. Waits for claimed entries.
    template <class Gone>
    void zap(GfnRange range, TablePages pages, Gone&& gone) {
        Gfn gfn = range.first();
        while (gfn < range.end()) {
            Obstacle<Table> obstacle;
            gfn = take(gfn, range, pages, obstacle);
            if ((obstacle && !planted(Plant::zap_waits_owning)) || count_ == chunks_.size()) finish(gone);
            if (obstacle) obstacle.wait();
        }
        finish(gone);
        if (pages == TablePages::keep) return;
        for (Level level = Level::page_4k; level < Format::top_level; level = above(level)) prune(range, level);
        if (table_.reclaim_is_due()) table_.reclaim();
    }

private:
    /// Entries of one table page, frozen here.
    struct Chunk {
        Slot* slots = nullptr;
        Slot* above = nullptr;  // set where the table page goes
        std::uint64_t link = 0;
        Gfn first{};
        Level level = Level::page_4k;
        EntryMask mine;
    };
    static constexpr Level above(Level level) { return static_cast<Level>(static_cast<unsigned>(level) + 1); }

    /// One table page's part of the range, or one large leaf; returns where to go on.
    Gfn take(Gfn gfn, GfnRange range, TablePages pages, Obstacle<Table>& obstacle) {
        const rcu::ReadSection section;
        const auto cursor = table_.walk(gfn, Level::page_4k);
        if (cursor.level == Level::page_4k) {
            const std::uint64_t index = Table::index_of(gfn, Level::page_4k);
            const std::uint64_t count = std::min(entries_per_node - index, range.end() - gfn);
            const bool whole = pages == TablePages::reclaim && count == entries_per_node;
            return gfn + freeze(cursor, gfn, count, whole ? Empty::freeze : Empty::pass, obstacle);
        }
        const std::uint64_t raw = Memory::load_ordered(*cursor.slot);
        const Gfn next = std::min(range.end(), Table::next_at(gfn, cursor.level));
        if (raw == 0) return next;
        const Gfn leaf_first{gfn.value() / pages_spanned(cursor.level) * pages_spanned(cursor.level)};
        const bool partly = leaf_first < range.first() || Table::next_at(gfn, cursor.level) > range.end();
        if (is_leaf(Format::state(raw, cursor.level)) && partly && split(table_, gfn) != SplitResult::out_of_memory) {
            return gfn;
        }
        return freeze(cursor, leaf_first, 1, Empty::pass, obstacle) == 1 ? next : gfn;
    }

    enum class Empty : std::uint8_t { pass, freeze };

    /// Freezes `count` entries from the cursor on; returns how many of them from the front are dealt with.
    std::uint64_t freeze(const typename Table::Cursor& cursor, Gfn first, std::uint64_t count, Empty empty,
                         Obstacle<Table>& obstacle) {
        Chunk& chunk = chunks_[count_];
        chunk = Chunk{cursor.slot, nullptr, 0, first, cursor.level, {}};
        std::uint64_t i = 0;
        for (; i < count; ++i) {
            if (cursor.level == Level::page_4k) {
                i = freeze_leaves<Level::page_4k, Format, Memory>(cursor.slot, i, count, chunk.mine);
                if (i == count) break;
            }
            const std::uint64_t raw = Memory::load_ordered(cursor.slot[i]);
            const EntryState state = Format::state(raw, cursor.level);
            if (state == EntryState::empty && empty == Empty::pass) continue;
            if (state != EntryState::empty && !is_leaf(state)) {
                if (state == EntryState::busy || state == EntryState::frozen) obstacle = {cursor.slot + i, raw};
                break;
            }
            if (transition<Format, Memory>(cursor.slot[i], raw, Format::frozen(raw), cursor.level, tally_)) {
                chunk.mine.set(i);
            } else {
                --i;  // the walker's A or D, a claim, or another zap: look again
            }
        }
        if (empty == Empty::freeze && i < count) thaw_empty(chunk);
        if (chunk.mine.none()) return i;
        if (empty == Empty::freeze && i == count) freeze_link(chunk, cursor.above);
        add_duty(chunk);
        ++count_;
        return i;
    }
    /// The table page stays after all: its empty entries are nobody's again.
    void thaw_empty(Chunk& chunk) {
        for (std::uint64_t i = 0; i < entries_per_node; ++i) {
            if (!chunk.mine.test(i) || Memory::load(chunk.slots[i]) != Format::frozen(0)) continue;
            settle<Format, Memory>(chunk.slots[i], Format::frozen(0), 0, chunk.level, tally_);
            chunk.mine.reset(i);
        }
    }
    /// Who owns all entries of a page owns the entry above: only the walker may still mark that one accessed.
    void freeze_link(Chunk& chunk, Slot* link) {
        chunk.above = link;
        do {
            chunk.link = Memory::load_ordered(*link);
        } while (
            !transition<Format, Memory>(*link, chunk.link, Format::frozen(chunk.link), above(chunk.level), tally_));
    }
    void add_duty(const Chunk& chunk) {
        std::uint64_t first = 0;
        std::uint64_t last = entries_per_node - 1;
        while (!chunk.mine.test(first)) ++first;
        while (!chunk.mine.test(last)) --last;
        const std::uint64_t size = pages_spanned(chunk.level);
        batch_.add(GfnRange{chunk.first + first * size, (last - first + 1) * size});
    }

    template <class Gone>
    void finish(Gone&& gone) {
        if (count_ == 0) return;
        const bool early = planted(Plant::clear_before_flush);
        if (early) clear_all(gone);
        if (planted(Plant::free_before_flush)) free_early();
        batch_.commit();
        table_.counters().tlb_flushes.add();
        if (!early) clear_all(gone);
        count_ = 0;
        tally_.settle();
    }
    template <class Gone>
    void clear_all(Gone&& gone) {
        for (std::size_t c = 0; c < count_; ++c) clear(chunks_[c], gone);
    }
    template <class Gone>
    void clear(Chunk& chunk, Gone&& gone) {
        const bool whole = chunk.above != nullptr;
        const auto tell = [&](std::uint64_t i, std::uint64_t leaf) {
            gone(chunk.first + i * pages_spanned(chunk.level), leaf, chunk.level);
        };
        if (!whole) return settle_frozen<Format, Memory>(chunk.slots, chunk.mine, 0, chunk.level, tally_, tell);
        // All are heard of before the entry above lets faults in again.
        chunk.mine.for_each([&](std::uint64_t i) {
            const std::uint64_t was = Format::thawed(Memory::load(chunk.slots[i]));
            if (was != 0) tell(i, was);
        });
        settle<Format, Memory>(*chunk.above, Format::frozen(chunk.link), 0, above(chunk.level), tally_);
        settle_frozen<Format, Memory>(chunk.slots, chunk.mine, Format::retired(), chunk.level, tally_,
                                      [](std::uint64_t, std::uint64_t) {});
        if (!planted(Plant::free_before_flush)) table_.retire_node(Format::frame(chunk.link));
    }
    /// Planted: as if a table page's memory could be used again as soon as it is unlinked.
    void free_early() {
        for (std::size_t c = 0; c < count_; ++c) {
            Chunk& chunk = chunks_[c];
            if (chunk.above == nullptr) continue;
            table_.retire_node(Format::frame(chunk.link));
            chunk.mine = {};  // zeroed by then
        }
        table_.reclaim();
    }

    /// Takes out table pages at `level` within the range that are empty and stay so. Hardware may remember where they
    /// are, so this owes a flush too.
    void prune(GfnRange range, Level level) {
        const std::uint64_t span = pages_spanned(above(level));
        Gfn gfn{(range.first().value() + span - 1) / span * span};
        const auto nobody = [](Gfn, std::uint64_t, Level) {};
        while (gfn + span <= range.end()) {
            {
                const rcu::ReadSection section;
                const auto cursor = table_.walk(gfn, level);
                const Level reached = cursor.level;
                if (reached == level) unlink_if_empty(cursor, gfn);
                gfn = reached == level ? gfn + span : Table::next_at(gfn, reached);
            }
            if (count_ == chunks_.size()) finish(nobody);
        }
        finish(nobody);
    }
    void unlink_if_empty(const typename Table::Cursor& cursor, Gfn first) {
        Chunk& chunk = chunks_[count_];
        chunk = Chunk{cursor.slot, nullptr, 0, first, cursor.level, {}};
        for (std::uint64_t i = 0; i < entries_per_node; ++i) {
            if (Memory::load(cursor.slot[i]) != 0 ||
                !transition<Format, Memory>(cursor.slot[i], 0, Format::frozen(0), cursor.level, tally_)) {
                return thaw_empty(chunk);
            }
            chunk.mine.set(i);
        }
        freeze_link(chunk, cursor.above);
        add_duty(chunk);
        ++count_;
    }

    Table& table_;
    FlushBatch<Target> batch_;
    TableTally tally_;
    std::array<Chunk, 16> chunks_;
    std::size_t count_ = 0;
};

}  // namespace penumbra::mmu
