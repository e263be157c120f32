// The one fault protocol, for every table: sample the sequence, resolve with no lock held, claim the entry, look at the
// sequence again, install. (include/linux/mmu_notifier.h; KVM's direct_page_fault; lib/test_hmm.c,
// dmirror_range_fault.)
#pragma once

#include <chrono>
#include <optional>

#include "base/callback_scope.hpp"
#include "base/mutex.hpp"
#include "base/planted.hpp"
#include "base/wait.hpp"
#include "notifier-bridge/interval_subscription.hpp"
#include "shadow-mmu/fault/fault.hpp"
#include "shadow-mmu/fault/page_source.hpp"

namespace penumbra::mmu {

/// Test builds may pass time between resolve and claim, to open the race that read_retry closes.
void open_install_race();

/// Samples the page's sequence. The clock is read only when an invalidation holds the page off.
template <class Table>
[[nodiscard]] std::optional<bridge::IntervalSubscription::Sequence> sample_sequence(Table& table, Hvp page,
                                                                                    const FaultLimits& limits) {
    constexpr std::chrono::steady_clock::time_point at_once{};
    if (const auto sample = table.sequence().read_begin(page, at_once)) [[likely]]
        return sample;
    return table.sequence().read_begin(page, steady_now() + limits.hold_off);
}

/// Table must have: memslots(), sequence(), counters(), name(), Cursor, and
///   touch(gfn, access) -> Standing         whether the entry serves the access, or does now
///   claim(gfn, cursor) -> Claim: {taken, present, contended, released, out_of_memory}
///   fill(gfn, page, content) -> Result<>   after a taken claim: makes the page reachable; an error changes nothing
///   publish(cursor, page, access) / abandon(cursor)   ends a taken claim
/// Call with no lock held and outside bridge callbacks.
template <class Table>
[[nodiscard]] Result<FaultOutcome> handle_fault(Table& table, PageSource& source, Gfn gfn, FaultAccess access,
                                                const FaultLimits& limits = {}) {
    PENUMBRA_ASSERT(!in_bridge_callback(), "a callback faulted");
    PENUMBRA_ASSERT(highest_rank_held() == 0, "a lock was held across a fault");
    const std::optional<Hvp> page = table.memslots().to_host(gfn);
    constexpr auto silent = [] { return planted(Plant::refusal_is_silent); };
    if (!page) return silent() ? FaultOutcome::spurious : FaultOutcome::emulate;
    table.counters().faults.add();

    for (unsigned attempt = 0; attempt < limits.attempts; ++attempt) {
        auto sample = sample_sequence(table, *page, limits);
        if (!sample)
            return fail("go on with a fault: an invalidation of the page never ended", std::string(table.name()));
        const Standing standing = table.touch(gfn, access);
        if (standing == Standing::serves) return FaultOutcome::spurious;
        if (standing == Standing::granted) return FaultOutcome::installed;
        if (standing == Standing::forbidden) return silent() ? FaultOutcome::spurious : FaultOutcome::emulate;

        PENUMBRA_TRY_ASSIGN(ResolvedPage resolved, source.resolve(*page, access));
        if (planted(Plant::delay_before_install)) open_install_race();
        if (planted(Plant::sample_after_resolve))
            sample = table.sequence().read_begin(*page, steady_now() + limits.hold_off);
        const bool collided_early = planted(Plant::recheck_before_claim) && table.sequence().read_retry(*page, *sample);

        typename Table::Cursor entry;
        const Claim claim = table.claim(gfn, entry);
        if (claim != Claim::taken) {
            if (!planted(Plant::forget_conclude)) source.conclude(*page, resolved, Conclusion::abandoned);
            if (claim == Claim::released) return FaultOutcome::denied;
            if (claim == Claim::out_of_memory) return FaultOutcome::out_of_memory;
            if (claim == Claim::present) return FaultOutcome::spurious;
            table.counters().retries.add();  // contended: frozen by an invalidation, or another fault has it in hand
            continue;
        }
        bool collided = collided_early;
        if (!planted(Plant::skip_sequence_recheck) && !planted(Plant::recheck_before_claim))
            collided = table.sequence().read_retry(*page, *sample);
        std::optional<Content> content = resolved.content;
        if (collided) {
            content.reset();
        } else if (!planted(Plant::skip_commit)) {
            content = source.commit(*page, resolved);
        }
        if (!content) {
            if (!planted(Plant::keep_claim)) table.abandon(entry);
            source.conclude(*page, resolved, Conclusion::abandoned);
            if (planted(Plant::conclude_twice)) source.conclude(*page, resolved, Conclusion::abandoned);
            table.counters().retries.add();
            continue;
        }
        const bool early = planted(Plant::publish_before_fill);
        if (early) table.publish(entry, *page, access);
        if (Result<> filled = table.fill(gfn, *page, *content); !filled && !planted(Plant::publish_failed_fill)) {
            source.conclude(*page, resolved, Conclusion::abandoned);
            table.abandon(entry);
            return std::unexpected{std::move(filled).error()};
        }
        if (!early) table.publish(entry, *page, access);
        source.conclude(*page, resolved, Conclusion::installed);
        return FaultOutcome::installed;
    }
    return FaultOutcome::retry;
}

}  // namespace penumbra::mmu
