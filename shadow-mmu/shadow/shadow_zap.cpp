// How translations go: the gate, writes to guest tables, the quota.
#include <algorithm>

#include "base/callback_scope.hpp"
#include "shadow-mmu/shadow/shadow_bugs.hpp"
#include "shadow-mmu/shadow/shadow_table.hpp"
#include "shadow-mmu/shadow/zap_ranges.hpp"

namespace penumbra::mmu {

void ShadowTable::close_gate() {
    while (gate_closed_) changed_.wait(mutex_);
    gate_closed_ = true;
}

ShadowTable::Drained ShadowTable::discharge(Cut& cut, const bridge::RangeSet& drain) {
    cut.flush.commit();
    stats_.flushes.add();
    const bool busy = accesses_.busy(drain);
    if (!shadow_bug(ShadowBug::skip_drain)) accesses_.drain(drain);
    open_gate(cut);
    return busy ? Drained::waited : Drained::at_once;
}

void ShadowTable::open_gate(const Cut& cut) {
    std::vector<Gfn> ended;
    {
        const MutexLock lock(mutex_);
        gate_closed_ = false;
        for (const Gfn table : cut.tables) {
            erase_if_idle(table);
            const auto found = records_.find(table);
            if (found == records_.end() || found->second.state != WatchState::watched) continue;
            if (found->second.pins != 0 || tree_.has_watched(table)) continue;
            found->second.state = WatchState::ending;
            ended.push_back(table);
        }
        changed_.notify_all();
    }
    finish_end(ended);
}

bool ShadowTable::begin_end(Gfn table) {
    const MutexLock lock(mutex_);
    while (!records_[table].settled()) changed_.wait(mutex_);
    WatchRecord& record = records_[table];
    const bool watched = record.state == WatchState::watched;
    record.state = WatchState::ending;
    return watched;
}

void ShadowTable::finish_end(std::span<const Gfn> tables) {
    if (tables.empty()) return;
    watches_.unwatch(tables);
    const MutexLock lock(mutex_);
    for (const Gfn table : tables) {
        records_[table].state = WatchState::none;
        erase_if_idle(table);
    }
    changed_.notify_all();
}

/// A record outlives its watch while there are shadow pages, for its count of writes.
void ShadowTable::erase_if_idle(Gfn table) {
    const auto found = records_.find(table);
    if (found == records_.end() || found->second.state != WatchState::none || found->second.pins != 0) return;
    if (!tree_.has_watched(table)) records_.erase(found);
}

/// Drops what is derived from a table: all shadow pages of it where it is written again and again and not used.
void ShadowTable::zap_table(Gfn table) {
    Cut cut(tlb_);
    {
        const MutexLock lock(mutex_);
        close_gate();
        const bool flooded = ++records_[table].writes >= limits_.flood;
        tree_.for_each_table({table, 1}, [&](ShadowPage& page) NO_THREAD_SAFETY_ANALYSIS {
            if (!page.is_watched_table()) return;
            if (flooded) return remove_page(page, cut);
            tree_.drop_entries(page, cut);
        });
        if (flooded) {
            records_[table].writes = 0;
            stats_.floods.add();
        }
    }
    if (discharge(cut, everything()) == Drained::waited) stats_.broken_in_use.add();
}

void ShadowTable::written(Gfn table) {
    PENUMBRA_ASSERT(!in_bridge_callback() && highest_rank_held() == 0, "a write was told under a lock");
    if (!memslots_.to_host(table)) return;
    stats_.writes.add();
    const bool watched = begin_end(table);
    if (shadow_bug(ShadowBug::unwatch_before_zap)) watches_.unwatch(std::span(&table, 1));
    if (watched) {
        stats_.broken.add();
        note_write(table);
        zap_table(table);
    }
    finish_end(std::span(&table, 1));
}

/// To be called while the shadow pages still hang where they are.
void ShadowTable::note_write(Gfn table) {
    const ShadowTime now = clock_();
    const MutexLock lock(mutex_);
    slices_.written(table, now);
    unsigned steps = 0;
    tree_.for_each_table({table, 1}, [&](const ShadowPage& page) NO_THREAD_SAFETY_ANALYSIS {
        if (page.is_watched_table() && page.used != 0) note_contexts(page, now, steps);
    });
}

void ShadowTable::note_contexts(const ShadowPage& page, ShadowTime now, unsigned& steps) {
    constexpr unsigned most_steps = 64;
    if (++steps > most_steps) return;
    for (const ContextId id : page.current_of) {
        ShadowContext& context = *context_of(id);
        const bool often = context.ping_pong.count(limits_.progress, now);
        if (often && context.announces) context.too_many_writes = context.view.tracking != Tracking::cooperative;
    }
    for (const EntryPlace& parent : page.parents) note_contexts(*parent.page, now, steps);
}

/// The table's own exchange. Where no alias passes the watch, what is derived goes first, and nobody watches meanwhile.
EntryExchange ShadowTable::exchange(Gpa entry, std::uint64_t expected, std::uint64_t desired) {
    if (watches_.own_writes() == OwnWrites::pass) return memory_.compare_exchange(entry, expected, desired);
    const Gfn table = frame_of(entry);
    if (begin_end(table)) {
        stats_.broken.add();
        zap_table(table);
        watches_.unwatch(std::span(&table, 1));
    }
    const EntryExchange result = memory_.compare_exchange(entry, expected, desired);
    const MutexLock lock(mutex_);
    records_[table].state = WatchState::none;
    erase_if_idle(table);
    changed_.notify_all();
    return result;
}

void ShadowTable::remove_page(ShadowPage& page, Cut& cut) {
    tree_.flush_entries(page, 0, entries_per_node, cut);
    for (std::size_t i = 0; i < contexts_.size() && page.roots != 0; ++i) {
        ShadowContext& context = contexts_[i];
        if (context.root == &page) {
            leave_root(ContextId{static_cast<std::uint16_t>(i)}, context);
            --page.roots;
        }
        page.roots -= static_cast<unsigned>(
            std::erase_if(context.cached, [&](const CachedRoot& cached) { return cached.page == &page; }));
    }
    tree_.remove(page, cut);
}

void ShadowTable::make_room() {
    constexpr std::size_t most_of_a_walk = 5;
    Cut cut(tlb_);
    {
        const MutexLock lock(mutex_);
        if (tree_.room() >= most_of_a_walk) return;
        close_gate();
        while (tree_.room() < 2 * most_of_a_walk && tree_.oldest() != nullptr) {
            remove_page(*tree_.oldest(), cut);
            stats_.evicted.add();
        }
    }
    discharge(cut, everything());
}

}  // namespace penumbra::mmu
