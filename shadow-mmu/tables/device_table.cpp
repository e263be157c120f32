#include "shadow-mmu/tables/device_table.hpp"

#include "base/planted.hpp"
#include "shadow-mmu/flush/flush_batch.hpp"
#include "shadow-mmu/table/collapse.hpp"
#include "shadow-mmu/table/split.hpp"

namespace penumbra::mmu {

namespace {

struct TlbFlush {
    using Run = GfnRange;
    static constexpr std::size_t capacity = 32;

    Tlb& tlb;

    void flush(std::span<const GfnRange> runs) const { tlb.flush(runs); }
    void flush_all() const { tlb.flush_all(); }
};

// Misses on small leaves that a full region lets pass before it is tried. A page that left it came back, so the next
// may leave soon; who had an entry in hand is soon done; what differs between entries stays so for a while.
constexpr std::uint32_t misses_after_invalidation = 16;
constexpr std::uint32_t misses_after_contention = 16;
constexpr std::uint32_t misses_after_refusal = 512;

constexpr Level above(Level level) { return static_cast<Level>(static_cast<unsigned>(level) + 1); }

}  // namespace

bridge::StartResult DeviceTable::invalidate_start(const bridge::InvalidationEvent& event) {
    sequence_.hold_off(event.ranges);
    isolate(event);
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
    forget(frozen);
    return bridge::StartResult::done;
}

void DeviceTable::release() {
    const Everything all = freeze_everything();
    flush_tlb(all.frozen);
    accesses_.drain(all.event.ranges);
    for (const Frozen& entry : all.frozen) clear(entry);
    forget(all.frozen);
}

void DeviceTable::isolate(const bridge::InvalidationEvent& event) {
    for (const HvpRange& range : event.ranges.ranges()) {
        memslots_.for_each_guest_range(range, [&](GfnRange guest) {
            for (const Level level : {Level::page_2m, Level::page_1g}) {
                for (Gfn gfn = guest.first(); gfn < guest.end(); gfn = Table::next_at(gfn, level)) {
                    regions_.hesitate(gfn, level, misses_after_invalidation);
                }
            }
            split_edge(guest.first(), guest, event.blockable);
            split_edge(guest.first() + (guest.pages() - 1), guest, event.blockable);
        });
    }
}

void DeviceTable::split_edge(Gfn gfn, GfnRange guest, bridge::Blockable blockable) {
    constexpr unsigned attempts = 8;  // two sizes, each once without and once with a table page
    for (unsigned attempt = 0; attempt < attempts; ++attempt) {
        const Entry entry = table_.lookup<LoadOrder::ordered>(gfn);
        if (entry.level == Level::page_4k || !is_leaf(Table::state_of(entry.raw, entry.level))) return;
        if (guest.contains(leaf_at(gfn, entry.level))) return;
        if (split(table_, gfn) != SplitResult::out_of_memory) continue;
        if (blockable == bridge::Blockable::no || !table_.reclaim()) return;
    }
}

void DeviceTable::flush_tlb(const std::vector<Frozen>& frozen) {
    if (frozen.empty()) return;
    TlbFlush target{tlb_};
    FlushBatch<TlbFlush> batch(target);
    GfnRange run;
    for (const Frozen& entry : frozen) {
        if (!run.empty() && entry.gfn == run.end()) {
            run = GfnRange{run.first(), run.pages() + entry.pages().pages()};
            continue;
        }
        if (!run.empty()) batch.add(run);
        run = entry.pages();
    }
    batch.add(run);
    batch.commit();
    counters().tlb_flushes.add();
}

void DeviceTable::forget(const std::vector<Frozen>& frozen) {
    for (const Frozen& entry : frozen) regions_.remove(entry.gfn, entry.pages().pages());
}

std::optional<DeviceTable::Access> DeviceTable::access(Gfn gfn, FaultAccess access) {
    const std::optional<Hvp> page = memslots_.to_host(gfn);
    if (!page) return std::nullopt;
    AccessTracker::Guard guard = accesses_.enter(*page);
    if (const std::optional<Hvp> cached = tlb_.lookup(gfn, access)) return Access{std::move(guard), *cached};
    std::optional<Entry> entry = usable(gfn, access);
    if (entry && is_worth_collapsing(gfn, entry->level)) {
        guard.reset();  // whoever wants the page out need not wait for the collapse
        grow(gfn, entry->level);
        guard = accesses_.enter(*page);
        entry = usable(gfn, access);
    }
    if (!entry) return std::nullopt;
    fill_tlb(gfn, access, *entry);
    // The entry may be on its way out by now; the guard was announced before it was seen present, so that start waits.
    return Access{std::move(guard), *page};
}

std::optional<DeviceTable::Entry> DeviceTable::usable(Gfn gfn, FaultAccess access) {
    constexpr unsigned attempts = 4;
    for (unsigned attempt = 0; attempt < attempts; ++attempt) {
        const Entry entry = table_.lookup<LoadOrder::ordered>(gfn);
        if (Format::allows(entry.raw, access)) {
            // Whoever granted W may not have marked the page yet. The mark precedes the write, and a harvest that takes
            // it waits for the write.
            if (access == FaultAccess::write) log_write(gfn, Level::page_4k);
            return entry;
        }
        const Standing standing = touch(gfn, access);
        if (standing != Standing::serves && standing != Standing::granted) return std::nullopt;
    }
    return std::nullopt;  // rights come and go: let a page request settle it
}

void DeviceTable::fill_tlb(Gfn gfn, FaultAccess access, const Entry& entry) {
    // While writes are logged, a cached W stands for one page that is marked.
    const bool logged = logs_writes();
    const bool writable =
        Format::writable(entry.raw) && (!logged || (access == FaultAccess::write && entry.level == Level::page_4k));
    const DeviceTlb::Translation made{leaf_at(gfn, entry.level), Format::frame(entry.raw, entry.level),
                                      writable ? FaultAccess::write : FaultAccess::read};
    tlb_.fill(made, [&] {
        const Entry now = table_.lookup<LoadOrder::ordered>(gfn);
        return now.raw == entry.raw && now.level == entry.level;
    });
}

bool DeviceTable::is_worth_collapsing(Gfn gfn, Level level) {
    return level < Level::page_1g && regions_.ripe(gfn, above(level)) && large_pages_.allowed(gfn, above(level)) &&
           !logs_writes();
}

void DeviceTable::grow(Gfn gfn, Level level) {
    TlbFlush target{tlb_};
    FlushBatch<TlbFlush> batch(target);
    switch (collapse(table_, gfn, above(level), batch)) {
        case CollapseResult::done:
        case CollapseResult::no_table:
            break;
        case CollapseResult::contended:
            regions_.hesitate(gfn, above(level), misses_after_contention);
            break;
        case CollapseResult::not_uniform:
            regions_.hesitate(gfn, above(level), misses_after_refusal);
            break;
    }
    if (table_.reclaim_is_due()) (void)table_.reclaim();
}

std::uint64_t DeviceTable::untrue_translations() {
    std::uint64_t found = 0;
    tlb_.for_each([&](const DeviceTlb::Translation& cached) {
        bool kept = true;
        for (std::uint64_t i = 0; kept && i < cached.pages.pages(); ++i) {
            const Entry entry = table_.lookup(cached.pages.first() + i);
            kept = Format::allows(entry.raw, cached.most) &&
                   table_.translate(cached.pages.first() + i) == cached.first + i;
        }
        found += kept ? 0 : 1;
    });
    return found;
}

}  // namespace penumbra::mmu
