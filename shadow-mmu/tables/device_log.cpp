// The dirty log of a device's table: write protection, given back page by page, and harvests that wait for writes in
// flight.
#include <vector>

#include "shadow-mmu/flush/flush_batch.hpp"
#include "shadow-mmu/table/dirty_tracking.hpp"
#include "shadow-mmu/tables/device_table.hpp"

namespace penumbra::mmu {

namespace {

/// Write protection is done when no cached translation permits the write, and no write by one that did is in flight.
struct WriteFlush {
    using Run = GfnRange;
    static constexpr std::size_t capacity = 4;

    Tlb& tlb;
    const AccessTracker& accesses;
    const Memslots& memslots;

    void flush(std::span<const GfnRange> runs) const {
        tlb.flush(runs);
        bridge::RangeSet host;
        for (const GfnRange& run : runs) host.add(HvpRange{*memslots.to_host(run.first()), run.pages()});
        accesses.drain(host);
    }
};

constexpr std::uint64_t part_pages = entries_per_node;
constexpr std::size_t most_ranges_of_part = part_pages / 2;

}  // namespace

struct DeviceTable::DirtyLog {
    explicit DirtyLog(DeviceTable& table)
        : bitmap(table.memslots_), tracking(table.table_, bitmap, DirtyMode::write_protect) {
        for (const Memslot& slot : table.memslots_.slots()) {
            for (Gfn at = slot.guest.first(); at < slot.guest.end();) {
                const Gfn end = std::min(Table::next_at(at, Level::page_2m), slot.guest.end());
                parts.push_back(GfnRange{at, end - at});
                at = end;
            }
        }
    }

    DirtyBitmap bitmap;
    DirtyTracking<Table> tracking;
    std::vector<GfnRange> parts;  // of at most 2 MiB, each in one slot
    std::size_t next = 0;         // part to go on with
};

void DeviceTable::DirtyLogDeleter::operator()(DirtyLog* log) const { delete log; }

void DeviceTable::begin_dirty_log() {
    PENUMBRA_ASSERT(dirty_log_ == nullptr, "a dirty log over another");
    dirty_log_.reset(new DirtyLog(*this));
    log_writes(&dirty_log_->bitmap);
    WriteFlush target{tlb_, accesses_, memslots_};
    FlushBatch<WriteFlush> batch(target);
    for (const Memslot& slot : memslots_.slots()) dirty_log_->tracking.begin(slot.guest, batch);
    (void)table_.reclaim();  // what collapses left is wanted for splits now, inside sections that cannot wait for it
}

DirtyBitmap& DeviceTable::dirty_bitmap() {
    PENUMBRA_ASSERT(dirty_log_ != nullptr, "no dirty log is on");
    return dirty_log_->bitmap;
}

DeviceTable::DirtyPages DeviceTable::take_dirty_log(std::size_t most_ranges) {
    PENUMBRA_ASSERT(dirty_log_ != nullptr && most_ranges >= most_ranges_of_part, "a take of no log, or of no size");
    WriteFlush target{tlb_, accesses_, memslots_};
    FlushBatch<WriteFlush> batch(target);
    DirtyPages taken;
    DirtyLog& log = *dirty_log_;
    for (std::size_t i = 0; i < log.parts.size(); ++i) {
        if (taken.ranges.size() + most_ranges_of_part > most_ranges) {
            taken.more = true;
            break;
        }
        log.tracking.harvest(log.parts[log.next], batch, [&](Gfn gfn) {
            ++taken.pages;
            GfnRange* last = taken.ranges.empty() ? nullptr : &taken.ranges.back();
            if (last != nullptr && last->end() == gfn) {
                *last = GfnRange{last->first(), last->pages() + 1};
            } else {
                taken.ranges.push_back(GfnRange{gfn, 1});
            }
        });
        log.next = (log.next + 1) % log.parts.size();
    }
    return taken;
}

void DeviceTable::end_dirty_log() {
    PENUMBRA_ASSERT(dirty_log_ != nullptr, "the end of no dirty log");
    log_writes(nullptr);
    rcu::wait_for_readers();  // who marks it now
    dirty_log_.reset();
}

std::uint64_t DeviceTable::unlogged_pages() {
    PENUMBRA_ASSERT(dirty_log_ != nullptr, "no log to compare with");
    std::uint64_t found = 0;
    for (const GfnRange& part : dirty_log_->parts) {
        for (Gfn gfn = part.first(); gfn < part.end(); ++gfn) {
            const bool writable = Format::writable(table_.lookup(gfn).raw);
            found += writable && !dirty_log_->bitmap.test(gfn) ? 1U : 0U;
        }
    }
    return found;
}

}  // namespace penumbra::mmu
