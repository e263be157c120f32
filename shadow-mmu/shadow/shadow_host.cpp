// The bridge's side: pages of the host leave, and with them leaves that name them and watches of tables.
#include "shadow-mmu/shadow/shadow_bugs.hpp"
#include "shadow-mmu/shadow/shadow_table.hpp"
#include "shadow-mmu/shadow/zap_ranges.hpp"

namespace penumbra::mmu {

/// Lists the event's watched tables; false: one of its tables is another thread's now.
bool ShadowTable::take_tables(const bridge::InvalidationEvent& event, std::vector<Gfn>& taken) {
    bool settled = true;
    taken.clear();
    for (const HvpRange& range : event.ranges.ranges()) {
        memslots_.for_each_guest_range(range, [&](GfnRange guest) NO_THREAD_SAFETY_ANALYSIS {
            for (auto at = records_.lower_bound(guest.first()); at != records_.end() && at->first < guest.end(); ++at) {
                settled = settled && at->second.settled();
                if (at->second.state == WatchState::watched) taken.push_back(at->first);
            }
        });
    }
    return settled;
}

bool ShadowTable::enter(const bridge::InvalidationEvent& event, std::vector<Gfn>& taken) {
    const bool may_wait = event.blockable == bridge::Blockable::yes;
    const MutexLock lock(mutex_);
    while (gate_closed_ || !take_tables(event, taken)) {
        if (!may_wait) return false;
        changed_.wait(mutex_);
    }
    if (!may_wait && accesses_.busy(taken.empty() ? event.ranges : everything())) return false;
    gate_closed_ = true;
    for (const Gfn table : taken) records_[table].state = WatchState::ending;
    return true;
}

void ShadowTable::zap_host_pages(const bridge::InvalidationEvent& event, Cut& cut) {
    const MutexLock lock(mutex_);
    for (const HvpRange& range : event.ranges.ranges()) {
        for (const EntryPlace& place : tree_.leaves().places_in(range)) tree_.drop(place, cut);
        memslots_.for_each_guest_range(range, [&](GfnRange guest) NO_THREAD_SAFETY_ANALYSIS {
            tree_.for_each_table(guest,
                                 [&](ShadowPage& page) NO_THREAD_SAFETY_ANALYSIS { tree_.drop_entries(page, cut); });
        });
    }
}

bridge::StartResult ShadowTable::invalidate_start(const bridge::InvalidationEvent& event) {
    sequence_.hold_off(event.ranges);
    std::vector<Gfn> taken;
    if (!enter(event, taken)) {
        sequence_.lift(event.ranges);
        return bridge::StartResult::would_block;
    }
    Cut cut(tlb_);
    zap_host_pages(event, cut);
    // A guest's write to a table that left is told to nobody, so no access may be in flight by what the table said.
    const bridge::RangeSet drain = taken.empty() ? event.ranges : everything();
    cut.flush.commit();
    stats_.flushes.add();
    if (event.blockable == bridge::Blockable::no && accesses_.busy(drain)) {
        open_gate(cut);
        finish_end(taken);
        sequence_.lift(event.ranges);
        return bridge::StartResult::would_block;
    }
    accesses_.drain(drain);
    // Not left to the page's going: it may stay after all, and nothing that nobody watches is protected. A device that
    // stored there by its own translation would sleep in an access, which other zaps wait for.
    if (!taken.empty()) watches_.unwatch(taken);
    {
        const MutexLock lock(mutex_);
        const bool survives = shadow_bug(ShadowBug::watch_survives_eviction);
        for (const Gfn table : taken) {
            records_[table].state = survives ? WatchState::watched : WatchState::none;
            erase_if_idle(table);
        }
    }
    open_gate(cut);
    return bridge::StartResult::done;
}

void ShadowTable::release() {
    {
        const MutexLock lock(mutex_);
        released_ = true;
    }
    drop_everything();
}

void ShadowTable::log_writes(DirtyBitmap* log) {
    const MutexLock lock(mutex_);
    log_ = log;
}

void ShadowTable::drop_everything() {
    Cut cut(tlb_);
    {
        const MutexLock lock(mutex_);
        close_gate();
        for (std::size_t i = 0; i < contexts_.size(); ++i) {
            if (contexts_[i].open && !shadow_bug(ShadowBug::drop_keeps_roots))
                forget_roots(ContextId{static_cast<std::uint16_t>(i)}, contexts_[i], cut);
        }
    }
    discharge(cut, everything());
}

}  // namespace penumbra::mmu
