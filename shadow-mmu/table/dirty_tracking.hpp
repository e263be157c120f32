// Which pages of a table were written since last asked, by write protection or by the walker's D bits (KVM:
// kvm_arch_mmu_enable_log_dirty_pt_masked, clear_dirty_gfn_range; arch/x86/kvm/mmu/tdp_mmu.c).
//
//   write_protect   a written page has W and a mark in the log, given with it by the fault; a harvest takes the marks,
//                   then W
//   dirty_bit       a written 4 KiB page has D, which a harvest clears; larger leaves are write-protected
//
// A harvest takes marks before it takes W: a write between the two goes through W and is part of what the harvester
// finds in the page, or it faults after and leaves a mark for next time. It flushes before it tells: a writer that goes
// on through a cached W or D has done so before the harvester reads the page. And it flushes whatever it finds, though
// no entry changed: that an entry has no W does not prove that no cached translation has it (ageing takes W without a
// flush).
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/planted.hpp"
#include "shadow-mmu/flush/flush_batch.hpp"
#include "shadow-mmu/table/dirty_log.hpp"
#include "shadow-mmu/table/range_steps.hpp"
#include "shadow-mmu/table/split.hpp"

namespace penumbra::mmu {

enum class DirtyMode : std::uint8_t { write_protect, dirty_bit };

/// Faults and the installers of writable leaves mark `log` themselves, from before begin() on. begin() and harvest()
/// may run beside anything, but for two of them over the same pages.
template <class Table>
class DirtyTracking {
public:
    using Format = typename Table::Format;

    /// dirty_bit needs a format whose walker sets D.
    DirtyTracking(Table& table, DirtyBitmap& log, DirtyMode mode) : table_(table), log_(log), mode_(mode) {
        PENUMBRA_ASSERT(mode == DirtyMode::write_protect || Format::accessed_dirty == AccessedDirty::hardware,
                        "dirty bits that nobody sets");
    }

    /// From the return on every write to the range is in some later harvest. Writes before may be.
    template <class Target>
    void begin(GfnRange range, FlushBatch<Target>& batch) {
        RangeSteps<Table> steps(table_, range);
        steps.run(RangeSteps<Table>::Owned::wait, [&](Gfn, const auto& cursor, std::uint64_t raw) {
            return arm(cursor, raw) ? Visit::next : Visit::stop;
        });
        flush(range, batch);
    }

    /// Calls written(gfn) for each page of the range that was written since the last harvest, in order.
    template <class Target, class Written>
    void harvest(GfnRange range, FlushBatch<Target>& batch, Written&& written) {
        std::vector<Gfn> found;
        for (std::uint64_t done = 0; done < range.pages(); done += window) {
            const GfnRange part{range.first() + done, std::min(window, range.pages() - done)};
            found.clear();
            log_.take(part, found);
            if (!planted(Plant::harvest_leaves_write)) {
                for (const Gfn gfn : found) arm_one(gfn);
            }
            if (mode_ == DirtyMode::dirty_bit) take_dirty_bits(part, found);
            if (found.empty()) continue;
            flush(part, batch);
            for (const Gfn gfn : found) written(gfn);
        }
    }

    /// As harvest(), for a write_protect log that pushes its marks to `ring`: only what the ring lists, in the order of
    /// the first writes; everything in `range`, if the ring overflowed.
    template <class Target, class Written>
    void harvest_listed(DirtyRing& ring, GfnRange range, FlushBatch<Target>& batch, Written&& written) {
        std::vector<Gfn> found;
        if (ring.drain(found) == DirtyRing::Drained::everything) return harvest(range, batch, written);
        if (found.empty()) return;
        std::vector<Gfn> marked;
        for (const Gfn gfn : found) {
            log_.take(GfnRange{gfn, 1}, marked);
            arm_one(gfn);
        }
        flush(range, batch);
        for (const Gfn gfn : marked) written(gfn);
    }

private:
    static constexpr std::uint64_t window = 64 * entries_per_node;  // pages: bounds the list

    [[nodiscard]] std::uint64_t armed(std::uint64_t raw, Level level) const {
        const bool by_bit = mode_ == DirtyMode::dirty_bit && level == Level::page_4k;
        return by_bit ? Format::cleaned(raw) : Format::write_protected(Format::cleaned(raw));
    }
    /// False: somebody was faster.
    [[nodiscard]] bool arm(const typename Table::Cursor& cursor, std::uint64_t raw) {
        const std::uint64_t to = armed(raw, cursor.level);
        return to == raw ||
               transition<Format, typename Table::Memory>(*cursor.slot, raw, to, cursor.level, table_.counters());
    }
    void arm_one(Gfn gfn) {
        RangeSteps<Table> steps(table_, GfnRange{gfn, 1});
        steps.run(RangeSteps<Table>::Owned::wait, [&](Gfn, const auto& cursor, std::uint64_t raw) {
            return arm(cursor, raw) ? Visit::next : Visit::stop;
        });
    }
    /// Leaves that somebody has in hand are passed over: their D bit goes to who zaps them, or is still there next
    /// time.
    void take_dirty_bits(GfnRange range, std::vector<Gfn>& found) {
        RangeSteps<Table> steps(table_, range);
        steps.run(RangeSteps<Table>::Owned::skip, [&](Gfn gfn, const auto& cursor, std::uint64_t raw) {
            if (cursor.level != Level::page_4k || !Format::is_dirty(raw)) return Visit::next;
            if (!arm(cursor, raw)) return Visit::stop;
            found.push_back(gfn);
            return Visit::next;
        });
        std::ranges::sort(found);  // with what the log had
        found.erase(std::unique(found.begin(), found.end()), found.end());
    }
    template <class Target>
    void flush(GfnRange range, FlushBatch<Target>& batch) {
        if (planted(Plant::clean_skips_flush)) return;
        batch.add(range);
        batch.commit();
        table_.counters().tlb_flushes.add();
    }

    Table& table_;
    DirtyBitmap& log_;
    const DirtyMode mode_;
};

}  // namespace penumbra::mmu
