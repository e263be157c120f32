// Guest-physical page -> host virtual page for one device: the accelerator's own page table. An entry exists only while
// the page is in the window, because the bridge runs this table's start before the window's.
//
// Large leaves. A 2 MiB leaf is right while all its 512 pages are in the window, and no page leaves unheard. Pages come
// one by one; where the device misses in its TLB on a small leaf of a region that is full, and LargePages allows, the
// region is collapsed, and so are 512 large leaves to one of 1 GiB. A start that takes some of a large leaf's pages
// splits it first: the others stay mapped. Without a table page for that the whole leaf goes, and comes back by faults.
// After an invalidation a region keeps its small leaves for a few misses.
//
// What holds at every moment: an entry at any size translates a page only if that page is in the window and no start
// that names it has returned; and what the TLB holds of a page, in any size, the table held after the last flush of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shadow-mmu/flush/access_tracker.hpp"
#include "shadow-mmu/flush/device_tlb.hpp"
#include "shadow-mmu/flush/window_port.hpp"
#include "shadow-mmu/format/device_format.hpp"
#include "shadow-mmu/table/large_pages.hpp"
#include "shadow-mmu/tables/leaf_regions.hpp"
#include "shadow-mmu/tables/table_base.hpp"

namespace penumbra::mmu {

/// Thread-safe. The TLB belongs to the device's engine and must outlive the table's subscription.
class DeviceTable final : public bridge::Subscriber, public TableBase<DeviceFormat, LeafSizes::all> {
public:
    DeviceTable(std::string name, Memslots memslots, NodeArena arena, DeviceTlb& tlb)
        : TableBase(std::move(memslots), std::move(arena)),
          name_(std::move(name)),
          tlb_(tlb),
          large_pages_(memslots_),
          regions_(memslots_) {}

    [[nodiscard]] std::string_view name() const override { return name_; }
    [[nodiscard]] bridge::SubscriberOrder order() const override { return bridge::SubscriberOrder::device; }
    [[nodiscard]] bridge::StartResult invalidate_start(const bridge::InvalidationEvent& event) override;
    void invalidate_end(const bridge::InvalidationEvent& event) override { sequence_.lift(event.ranges); }
    void release() override;

    /// Fault protocol: the page is in the window already.
    [[nodiscard]] Result<> fill(Gfn, Hvp, const Content&) { return {}; }
    void publish(const Cursor& entry, Hvp page, FaultAccess access = FaultAccess::write) {
        TableBase::publish(entry, page, access);
        if (const std::optional<Gfn> gfn = memslots_.to_guest(page)) regions_.add(*gfn);
    }

    /// A page that the engine may read, or read and write, while the access lives.
    struct Access {
        AccessTracker::Guard guard;
        Hvp page;
    };
    /// Through the TLB, then the table, which on the way gives back what an aged or write-protected entry may permit.
    /// nullopt: a miss, post a page request. Called by the engine's thread only, which may hold other accesses.
    [[nodiscard]] std::optional<Access> access(Gfn gfn, FaultAccess access);
    /// To read and write.
    [[nodiscard]] std::optional<Access> access(Gfn gfn) { return access(gfn, FaultAccess::write); }
    [[nodiscard]] const DeviceTlb& tlb() const { return tlb_; }

    /// Where large leaves may be. To have none where some may be: disallow, then the next invalidation or logged write
    /// splits what is there.
    [[nodiscard]] LargePages& large_pages() { return large_pages_; }

    // ---- the dirty log: begin, take as often as wanted, end; one caller at a time ----
    // While a log is on no leaf grows, and the first write to a page of a large one splits it.

    /// From the return on every page that the device writes is in some later take. Takes time with the pages mapped.
    /// No log may be on.
    void begin_dirty_log();
    struct DirtyPages {
        std::uint64_t pages = 0;       ///< in `ranges`
        std::vector<GfnRange> ranges;  ///< apart from each other
        bool more = false;             ///< there may be others, which the next take begins with
    };
    /// Pages that were written since they were last taken, in at most `most_ranges` ranges, at least 256; the next take
    /// goes on where this one stopped. On return no access by which they were written is in flight: their content is at
    /// least as new as what is told here. The log must be on.
    [[nodiscard]] DirtyPages take_dirty_log(std::size_t most_ranges);
    void end_dirty_log();
    /// Of the log that is on: for others who write on the device's behalf.
    [[nodiscard]] DirtyBitmap& dirty_bitmap();

    // ---- for tests and audits, while nothing is at work ----
    /// Cached translations that the table does not hold: flushes that somebody owed.
    [[nodiscard]] std::uint64_t untrue_translations();
    /// Pages that may be written without a mark in the log, which is on.
    [[nodiscard]] std::uint64_t unlogged_pages();

private:
    using Format = DeviceFormat;
    using Entry = Table::Entry;
    /// What the device may walk for the access, W given and logged where that was missing.
    [[nodiscard]] std::optional<Entry> usable(Gfn gfn, FaultAccess access);
    [[nodiscard]] bool is_worth_collapsing(Gfn gfn, Level level);
    /// To a leaf one size larger than `level`. Holding no access to the region.
    void grow(Gfn gfn, Level level);
    void fill_tlb(Gfn gfn, FaultAccess access, const Entry& entry);

    /// Nothing of the event's pages is in a large leaf that has others too, nor soon will be. Or some leaf is, where a
    /// table page was missing or somebody was faster.
    void isolate(const bridge::InvalidationEvent& event);
    void split_edge(Gfn gfn, GfnRange guest, bridge::Blockable blockable);
    void flush_tlb(const std::vector<Frozen>& frozen);
    void forget(const std::vector<Frozen>& frozen);

    struct DirtyLog;
    struct DirtyLogDeleter {
        void operator()(DirtyLog* log) const;
    };

    std::string name_;
    DeviceTlb& tlb_;
    AccessTracker accesses_;
    LargePages large_pages_;
    LeafRegions regions_;
    std::unique_ptr<DirtyLog, DirtyLogDeleter> dirty_log_;
};

}  // namespace penumbra::mmu
