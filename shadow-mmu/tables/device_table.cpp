#include "shadow-mmu/tables/device_table.hpp"

#include "base/planted.hpp"
#include "shadow-mmu/flush/flush_batch.hpp"

namespace penumbra::mmu {

namespace {

struct TlbFlush {
    using Run = GfnRange;
    static constexpr std::size_t capacity = 32;

    Tlb& tlb;

    void flush(std::span<const GfnRange> runs) const { tlb.flush(runs); }
    void flush_all() const { tlb.flush_all(); }
};

}  // namespace

bridge::StartResult DeviceTable::invalidate_start(const bridge::InvalidationEvent& event) {
    sequence_.hold_off(event.ranges);
    std::vector<Frozen> frozen;
    bool may_go_on = freeze(event, frozen);
    if (may_go_on) {
        flush_tlb(frozen);
        if (event.blockable == bridge::Blockable::no && accesses_.busy(event.ranges)) {
            for (const Frozen& entry : frozen) thaw(entry);
            may_go_on = false;
        }
    }
    if (!may_go_on) {
        sequence_.lift(event.ranges);
        return bridge::StartResult::would_block;
    }
    if (!planted(Plant::skip_drain)) accesses_.drain(event.ranges);
    drop(frozen);
    return bridge::StartResult::done;
}

void DeviceTable::flush_tlb(const std::vector<Frozen>& frozen) {
    if (frozen.empty()) return;
    TlbFlush target{tlb_};
    FlushBatch<TlbFlush> batch(target);
    GfnRange run;
    for (const Frozen& entry : frozen) {
        if (!run.empty() && entry.gfn == run.end()) {
            run = GfnRange{run.first(), run.pages() + 1};
            continue;
        }
        if (!run.empty()) batch.add(run);
        run = GfnRange{entry.gfn, 1};
    }
    batch.add(run);
    batch.commit();
    counters().tlb_flushes.add();
}

void DeviceTable::release() {
    const Everything all = freeze_everything();
    flush_tlb(all.frozen);
    accesses_.drain(all.event.ranges);
    for (const Frozen& entry : all.frozen) clear(entry);
}

std::optional<DeviceTable::Access> DeviceTable::access(Gfn gfn) {
    const std::optional<Hvp> page = memslots_.to_host(gfn);
    if (!page) return std::nullopt;
    AccessTracker::Guard guard = accesses_.enter(*page);
    if (const std::optional<Hvp> cached = tlb_.lookup(gfn)) return Access{std::move(guard), *cached};
    if (!present(gfn)) return std::nullopt;
    tlb_.fill(gfn, *page, [this, gfn] { return present(gfn); });
    // The entry may be on its way out by now; the guard was announced before it was seen present, so that start waits.
    return Access{std::move(guard), *page};
}

}  // namespace penumbra::mmu
