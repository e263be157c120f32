#include "shadow-mmu/fault/window_source.hpp"

namespace penumbra::mmu {

Result<ResolvedPage> WindowSource::resolve(Hvp page, FaultAccess access) {
    const std::optional<Gfn> gfn = ept_.memslots().to_guest(page);
    PENUMBRA_ASSERT(gfn.has_value(), "a device asked for a page outside the memslots");
    if (ept_.present(*gfn)) return ResolvedPage{.content = {}, .ticket = in_window};
    PENUMBRA_TRY_ASSIGN(const FaultOutcome outcome, handle_fault(ept_, pager_, *gfn, access));
    if (outcome == FaultOutcome::installed) brought_in_.add();
    if (outcome == FaultOutcome::denied || outcome == FaultOutcome::out_of_memory) {
        return fail("bring a page in for a device", std::string(name_of(outcome)));
    }
    const bool there = outcome == FaultOutcome::installed || outcome == FaultOutcome::spurious;
    return ResolvedPage{.content = {}, .ticket = there ? in_window : 0};
}

std::optional<Content> WindowSource::commit(Hvp, ResolvedPage& resolved) {
    if (resolved.ticket != in_window) return std::nullopt;  // invalidations kept intervening
    return resolved.content;
}

}  // namespace penumbra::mmu
