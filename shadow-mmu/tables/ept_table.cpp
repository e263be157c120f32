#include "shadow-mmu/tables/ept_table.hpp"

#include <algorithm>

#include "base/planted.hpp"
#include "shadow-mmu/flush/flush_batch.hpp"

namespace penumbra::mmu {

using bridge::TakeOut;

namespace {

/// Pages of the window that leave it, with the first page's number in the event and, for a swap_out, its staging slot.
struct WindowRun {
    HvpRange pages;
    std::size_t index = 0;
    Hvp staging{};
};

/// The vCPUs' TLBs are flushed by the kernel when a page leaves the window: taking out is the flush.
struct WindowFlush {
    using Run = WindowRun;
    static constexpr std::size_t capacity = 64;

    WindowPort& window;
    bridge::StagingPlan* staging;

    void flush(std::span<const WindowRun> runs) const {
        for (const WindowRun& run : runs) {
            if (staging == nullptr) {
                window.drop(run.pages);
            } else {
                take_out(run);
            }
        }
    }

    void take_out(const WindowRun& run) const {
        const std::size_t taken =
            planted(Plant::skip_ept_flush) ? run.pages.pages() : window.take_out(run.pages, run.staging);
        for (std::size_t i = 0; i < run.pages.pages(); ++i) {
            staging->outcomes[run.index + i] = i < taken ? TakeOut::taken : TakeOut::kept;
        }
        if (taken + 1 < run.pages.pages()) {  // go on behind the page that would not leave
            take_out(WindowRun{HvpRange{run.pages.first() + (taken + 1), run.pages.pages() - taken - 1},
                               run.index + taken + 1,
                               run.staging + (planted(Plant::shift_staging) ? taken : taken + 1)});
        }
    }
};

}  // namespace

bridge::StartResult EptTable::invalidate_start(const bridge::InvalidationEvent& event) {
    PENUMBRA_ASSERT(event.strength == bridge::Strength::bracketed, "the window changes only inside brackets");
    PENUMBRA_ASSERT(
        event.staging != nullptr || event.reason == bridge::Reason::discard || event.reason == bridge::Reason::unmap,
        "an event that keeps its pages' content must say where it goes");
    if (event.staging != nullptr) {
        PENUMBRA_ASSERT(event.staging->slots.size() == event.ranges.pages() &&
                            event.staging->outcomes.size() == event.ranges.pages(),
                        "a staging plan of another size than its event");
        std::fill(event.staging->outcomes.begin(), event.staging->outcomes.end(), TakeOut::absent);
    }
    if (!planted(Plant::no_hold_off)) sequence_.hold_off(event.ranges);
    std::vector<Frozen> frozen;
    frozen.reserve(event.ranges.pages());
    bool may_go_on = freeze(event, frozen);
    if (may_go_on && event.blockable == bridge::Blockable::no && accesses_.busy(event.ranges)) {
        for (const Frozen& entry : frozen) {
            if (!planted(Plant::keep_frozen)) thaw(entry);
        }
        may_go_on = false;
    }
    if (!may_go_on) {
        if (!planted(Plant::no_hold_off)) sequence_.lift(event.ranges);
        return bridge::StartResult::would_block;
    }
    accesses_.drain(event.ranges);
    flush(event, frozen);
    settle(event, frozen);
    if (planted(Plant::lift_early)) sequence_.lift(event.ranges);
    return bridge::StartResult::done;
}

void EptTable::invalidate_end(const bridge::InvalidationEvent& event) {
    if (!planted(Plant::lift_early) && !planted(Plant::no_hold_off)) sequence_.lift(event.ranges);
}

void EptTable::flush(const bridge::InvalidationEvent& event, const std::vector<Frozen>& frozen) {
    if (frozen.empty()) return;
    WindowFlush target{window_, event.staging};
    FlushBatch<WindowFlush> batch(target);
    WindowRun run;
    for (const Frozen& entry : frozen) {
        const Hvp page = EptFormat::frame(entry.raw);
        const Hvp staging = event.staging != nullptr ? event.staging->slots[entry.index] : Hvp{};
        const bool joins = !run.pages.empty() && page == run.pages.end() &&
                           (event.staging == nullptr || (staging == run.staging + run.pages.pages() &&
                                                         entry.index == run.index + run.pages.pages()));
        if (joins) {
            run.pages = HvpRange{run.pages.first(), run.pages.pages() + 1};
            continue;
        }
        if (!run.pages.empty()) batch.add(run);
        run = WindowRun{HvpRange{page, 1}, entry.index, staging};
    }
    batch.add(run);
    batch.commit();
    counters().tlb_flushes.add();
}

void EptTable::settle(const bridge::InvalidationEvent& event, const std::vector<Frozen>& frozen) {
    for (const Frozen& entry : frozen) {
        const bool kept = event.staging != nullptr && event.staging->outcomes[entry.index] == TakeOut::kept;
        if ((kept && !planted(Plant::clear_kept_page)) || planted(Plant::skip_ept_zap)) {
            thaw(entry);
        } else {
            clear(entry);
        }
    }
}

void EptTable::release() {
    const Everything all = freeze_everything();
    accesses_.drain(all.event.ranges);
    for (const Frozen& entry : all.frozen) clear(entry);
}

std::optional<EptTable::Access> EptTable::access(Gfn gfn) {
    const std::optional<Hvp> page = memslots_.to_host(gfn);
    if (!page) return std::nullopt;
    const bool late = planted(Plant::announce_late);
    if (late && !present(gfn)) return std::nullopt;
    AccessTracker::Guard guard = accesses_.enter(*page);
    if (!late && !present(gfn)) return std::nullopt;
    return Access{std::move(guard), *page};
}

}  // namespace penumbra::mmu
