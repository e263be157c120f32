// A fault from its beginning to the page that it found; then it watches (shadow_watch.cpp) and installs
// (shadow_install.cpp).
#include "base/callback_scope.hpp"
#include "base/planted.hpp"
#include "shadow-mmu/fault/fault_handler.hpp"
#include "shadow-mmu/shadow/shadow_attempt.hpp"
#include "shadow-mmu/shadow/shadow_bugs.hpp"
#include "shadow-mmu/shadow/zap_ranges.hpp"

namespace penumbra::mmu {

ShadowAnswer ShadowTable::fault(ContextId context, Gva address, GuestAccess access) {
    PENUMBRA_ASSERT(!in_bridge_callback(), "a callback faulted");
    PENUMBRA_ASSERT(highest_rank_held() == 0, "a lock was held across a fault");
    stats_.faults.add();
    for (unsigned attempt = 0; attempt < limits_.attempts; ++attempt) {
        Attempt one(context, address, access);
        const Step step = try_once(one);
        unpin(one);
        if (step == Step::answered) return one.answer;
        stats_.retries.add();
    }
    return {};
}

ShadowTable::Step ShadowTable::try_once(Attempt& attempt) {
    if (const Step step = begin(attempt); step != Step::go_on) return step;
    if (const Step step = resolve(attempt); step != Step::go_on) return step;
    make_room();
    pin(attempt);
    if (const Step step = watch_tables(attempt); step != Step::go_on) return step;
    // What changed between the walk and the watch shows here; what changes from now on ends the watch.
    const bool unchanged = attempt.pins().empty() || attempt.found.path.unchanged(memory_);
    if (!unchanged && !shadow_bug(ShadowBug::skip_revalidation)) return Step::again;
    if (planted(Plant::delay_before_install)) open_install_race();
    return settle_install(attempt, install(attempt));
}

ShadowTable::Step ShadowTable::begin(Attempt& attempt) {
    bool cooperative = false;
    {
        const MutexLock lock(mutex_);
        const ShadowContext* context = context_of(attempt.id);
        cooperative = context != nullptr && context->too_many_writes;
    }
    if (cooperative) go_cooperative(attempt.id);
    const MutexLock lock(mutex_);
    const ShadowContext* context = context_of(attempt.id);
    if (context == nullptr) return attempt.answered(ShadowOutcome::no_context);
    if (released_) return attempt.answered(ShadowOutcome::denied);
    attempt.view = context->view;
    attempt.announcements = announcements_;
    if (!is_canonical(attempt.address, attempt.view.mode.top)) return attempt.answered(ShadowOutcome::bad_address);
    const auto known = find_leaf(*context, frame_of(attempt.address));
    if (known && allowed_by(known->leaf, attempt.view.mode).has(attempt.access)) {
        return attempt.answered(ShadowOutcome::spurious);
    }
    return Step::go_on;
}

/// The guest announces what it changes: from now on it need not wait for the device, nor the device for it.
void ShadowTable::go_cooperative(ContextId id) {
    Cut cut(tlb_);
    {
        const MutexLock lock(mutex_);
        close_gate();
        ShadowContext* context = context_of(id);
        if (context != nullptr && context->too_many_writes) {
            context->too_many_writes = false;
            forget_roots(id, *context, cut);
            context->view.tracking = Tracking::cooperative;
            stats_.cooperative.add();
        }
    }
    discharge(cut, everything());
}

ShadowTable::Step ShadowTable::resolve(Attempt& attempt) {
    SampledEntries& entries = attempt.entries.emplace(
        memslots_, sequence_, memory_, std::chrono::steady_clock::now() + limits_.hold_off,
        [this](Gpa entry, std::uint64_t from, std::uint64_t to) { return exchange(entry, from, to); });
    const GuestWalkResult walked =
        walk_guest(entries, attempt.view.mode, {attempt.view.root, attempt.address, attempt.access});
    if (entries.held_off()) return Step::again;
    if (!walked) {
        const GuestFault& fault = walked.error();
        if (fault.cause == GuestFaultCause::table_unstable) return Step::again;
        if (fault.cause == GuestFaultCause::table_absent) {
            attempt.answer.want({frame_of(fault.entry), FaultAccess::read});
            return Step::answered;
        }
        stats_.guest_faults.add();
        attempt.answer.guest = {fault.error_code, attempt.address};
        return attempt.answered(ShadowOutcome::guest_fault);
    }
    attempt.found = *walked;
    attempt.data = frame_of(walked->gpa);
    const std::optional<Hvp> host = memslots_.to_host(attempt.data);
    if (!host) return attempt.answered(ShadowOutcome::not_ram);
    attempt.host = *host;
    if (!entries.sample(*host)) return Step::again;
    if (memory_.present(attempt.data)) return Step::go_on;
    const bool writes = attempt.access.kind == AccessKind::write;
    attempt.answer.want({attempt.data, writes ? FaultAccess::write : FaultAccess::read});
    return Step::answered;
}

}  // namespace penumbra::mmu
