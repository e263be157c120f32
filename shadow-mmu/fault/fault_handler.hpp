// The one fault protocol, for every table: sample the sequence, resolve with no lock held, claim the entry, look at the
// sequence again, install. (include/linux/mmu_notifier.h; KVM's direct_page_fault; lib/test_hmm.c,
// dmirror_range_fault.)
#pragma once

#include <chrono>
#include <optional>

#include "base/callback_scope.hpp"
#include "base/mutex.hpp"
#include "base/planted.hpp"
#include "shadow-mmu/fault/fault.hpp"
#include "shadow-mmu/fault/page_source.hpp"

namespace penumbra::mmu {

/// Test builds may pass time between resolve and claim, to open the race that read_retry closes.
void open_install_race();

/// Table must have: memslots(), sequence(), counters(), name(), present(gfn), and
///   claim(gfn) -> Claim: {taken, present, contended, released, out_of_memory}
///   fill(gfn, page, content) -> Result<>   after a taken claim: makes the page reachable; an error changes nothing
///   publish(gfn, page) / abandon(gfn)      ends a taken claim
/// Call with no lock held and outside bridge callbacks.
template <class Table>
[[nodiscard]] Result<FaultOutcome> handle_fault(Table& table, PageSource& source, Gfn gfn, FaultAccess access,
                                                const FaultLimits& limits = {}) {
    PENUMBRA_ASSERT(!in_bridge_callback(), "a callback faulted");
    PENUMBRA_ASSERT(highest_rank_held() == 0, "a lock was held across a fault");
    const std::optional<Hvp> page = table.memslots().to_host(gfn);
    if (!page) return FaultOutcome::emulate;
    table.counters().faults.add();

    for (unsigned attempt = 0; attempt < limits.attempts; ++attempt) {
        const auto sample = table.sequence().read_begin(*page, std::chrono::steady_clock::now() + limits.hold_off);
        if (!sample)
            return fail("go on with a fault: an invalidation of the page never ended", std::string(table.name()));
        if (table.present(gfn)) return FaultOutcome::spurious;

        PENUMBRA_TRY_ASSIGN(ResolvedPage resolved, source.resolve(*page, access));
        if (planted(Plant::delay_before_install)) open_install_race();

        const Claim claim = table.claim(gfn);
        if (claim != Claim::taken) {
            source.conclude(*page, resolved, Conclusion::abandoned);
            if (claim == Claim::released) return FaultOutcome::denied;
            if (claim == Claim::out_of_memory) return FaultOutcome::out_of_memory;
            if (claim == Claim::present) return FaultOutcome::spurious;
            table.counters().retries.add();  // contended: frozen by an invalidation, or another fault has it in hand
            continue;
        }
        const bool collided = table.sequence().read_retry(*page, *sample) && !planted(Plant::skip_sequence_recheck);
        const std::optional<Content> content = collided ? std::nullopt : source.commit(*page, resolved);
        if (!content) {
            table.abandon(gfn);
            source.conclude(*page, resolved, Conclusion::abandoned);
            table.counters().retries.add();
            continue;
        }
        if (Result<> filled = table.fill(gfn, *page, *content); !filled) {
            source.conclude(*page, resolved, Conclusion::abandoned);
            table.abandon(gfn);
            return std::unexpected{std::move(filled).error()};
        }
        table.publish(gfn, *page);
        source.conclude(*page, resolved, Conclusion::installed);
        return FaultOutcome::installed;
    }
    return FaultOutcome::retry;
}

}  // namespace penumbra::mmu
