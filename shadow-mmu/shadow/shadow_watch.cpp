// A fault's tables are watched: each by one thread, and not while the page is the guest's.
#include <algorithm>

#include "shadow-mmu/shadow/shadow_attempt.hpp"
#include "shadow-mmu/shadow/shadow_bugs.hpp"
#include "shadow-mmu/shadow/zap_ranges.hpp"

namespace penumbra::mmu {

void ShadowTable::pin(Attempt& attempt) {
    const MutexLock lock(mutex_);
    for (const auto& step : attempt.found.path.steps()) {
        const Gfn table = frame_of(step.entry);
        if (!attempt.view.watches(step.level) || attempt.has_pinned(table)) continue;  // one that maps itself
        attempt.pin_slots[attempt.pin_count++] = {table, 0};
        ++records_[table].pins;
    }
}

void ShadowTable::unpin(Attempt& attempt) {
    if (attempt.pin_count == 0) return;
    std::vector<Gfn> ended;
    {
        const MutexLock lock(mutex_);
        for (const Attempt::Pin& pin : attempt.pins()) {
            WatchRecord& record = records_[pin.gfn];
            if (--record.pins == 0 && record.state == WatchState::watched && !tree_.has_watched(pin.gfn)) {
                record.state = WatchState::ending;
                ended.push_back(pin.gfn);
            }
            erase_if_idle(pin.gfn);
        }
    }
    attempt.pin_count = 0;
    finish_end(ended);
}

ShadowTable::Step ShadowTable::watch_tables(Attempt& attempt) {
    constexpr unsigned most_rounds = 8;
    for (unsigned round = 0; round < most_rounds; ++round) {
        std::vector<WatchRequest> claimed;
        const Step step = claim_tables(attempt, claimed);
        if (claimed.empty()) return step;
        drop_writable_leaves(claimed);
        watches_.watch(claimed);
        if (const Step settled = settle_tables(attempt, claimed); settled != Step::go_on) return settled;
    }
    return Step::again;
}

/// Claims all tables that nobody watches. With none to claim, waits for other threads' and notes the epochs: go_on.
ShadowTable::Step ShadowTable::claim_tables(Attempt& attempt, std::vector<WatchRequest>& claimed) {
    const ShadowTime now = clock_();
    const MutexLock lock(mutex_);
    for (;;) {
        if (released_ || attempt.entries->stale()) return Step::again;
        bool others = false;
        std::optional<ShadowTime> wait;
        for (Attempt::Pin& pin : attempt.pins()) {
            const WatchRecord& record = records_[pin.gfn];
            others = others || !record.settled();
            pin.epoch = record.epoch;
            if (record.state != WatchState::none) continue;
            if (const auto until = slices_.wait_until(pin.gfn, now)) wait = std::max(wait.value_or(*until), *until);
            claimed.push_back({pin.gfn});
        }
        if (wait) {
            claimed.clear();
            stats_.waits.add();
            attempt.answer.wait_until = *wait;
            return attempt.answered(ShadowOutcome::wait);
        }
        for (const WatchRequest& request : claimed) records_[request.gfn].state = WatchState::beginning;
        std::ranges::sort(claimed, {}, &WatchRequest::gfn);
        if (!claimed.empty() || !others) return Step::go_on;
        changed_.wait(mutex_);
    }
}

std::vector<EntryPlace> ShadowTable::writable_leaves(std::span<const WatchRequest> tables) {
    std::vector<EntryPlace> writable;
    for (const WatchRequest& table : tables) {
        for (const EntryPlace& place : tree_.leaves().places_in({*memslots_.to_host(table.gfn), 1})) {
            if (X86Format::writable(place.page->slots[place.index])) writable.push_back(place);
        }
    }
    return writable;
}

/// A device's write through a leaf is no write of the guest's: where a table is watched there is no such leaf.
void ShadowTable::drop_writable_leaves(std::span<const WatchRequest> tables) {
    if (shadow_bug(ShadowBug::writable_table)) return;
    Cut cut(tlb_);
    {
        const MutexLock lock(mutex_);
        // An open zap may have dropped one, and not flushed yet.
        if (!gate_closed_ && writable_leaves(tables).empty()) return;
        close_gate();
        for (const EntryPlace& place : writable_leaves(tables)) tree_.drop(place, cut);
    }
    discharge(cut, everything());
}

ShadowTable::Step ShadowTable::settle_tables(Attempt& attempt, std::span<const WatchRequest> claimed) {
    const ShadowTime now = clock_();
    Step step = Step::go_on;
    const MutexLock lock(mutex_);
    for (const WatchRequest& request : claimed) {
        WatchRecord& record = records_[request.gfn];
        const bool watched = request.result == WatchResult::watched;
        record.state = watched ? WatchState::watched : WatchState::none;
        if (watched) {
            record.epoch = ++epochs_;
            slices_.watched(request.gfn, now);
        } else if (request.result == WatchResult::absent) {
            attempt.answer.want({request.gfn, FaultAccess::read});
            step = Step::answered;
        }
    }
    changed_.notify_all();
    const auto refused = std::ranges::find(claimed, WatchResult::refused, &WatchRequest::result);
    return refused == claimed.end() ? step : attempt.answered(ShadowOutcome::refused);
}

}  // namespace penumbra::mmu
