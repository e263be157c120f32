// The end of a fault, under the lock: nothing intervened, so what was found is linked and mapped.
#include "shadow-mmu/shadow/shadow_attempt.hpp"
#include "shadow-mmu/shadow/shadow_bugs.hpp"
#include "shadow-mmu/shadow/zap_ranges.hpp"

namespace penumbra::mmu {

/// The other half of each start's, write's and announcement's first step. Firm under the lock, which they take after.
bool ShadowTable::intervened(const Attempt& attempt) {
    if (attempt.entries->stale() && !shadow_bug(ShadowBug::skip_sequence_recheck)) return true;
    const bool announced = announcements_ != attempt.announcements && attempt.view.tracking != Tracking::watched;
    if (announced && !shadow_bug(ShadowBug::announcement_uncounted)) return true;
    for (const Attempt::Pin& pin : attempt.pins()) {
        const WatchRecord& record = records_[pin.gfn];
        const bool same = record.state == WatchState::watched && record.epoch == pin.epoch;
        if (!same && !shadow_bug(ShadowBug::skip_epoch_recheck)) return true;
    }
    return false;
}

ShadowTable::Install ShadowTable::install(Attempt& attempt) {
    const MutexLock lock(mutex_);
    ShadowContext* context = context_of(attempt.id);
    if (context == nullptr || released_) return Install::again;
    const bool switched = context->view.generation != attempt.view.generation;
    if (switched && !shadow_bug(ShadowBug::old_generation_installs)) return Install::again;
    if (intervened(attempt)) return Install::again;
    const Install installed = map_page(attempt, *context);
    if (installed == Install::done) {
        for (const Attempt::Pin& pin : attempt.pins()) records_[pin.gfn].writes = 0;
    }
    return installed;
}

ShadowTable::Install ShadowTable::map_page(Attempt& attempt, ShadowContext& context) {
    LeafRights rights = leaf_rights_of(attempt.found, attempt.view.mode, attempt.access);
    const auto record = records_.find(attempt.data);
    const bool is_table = record != records_.end() && record->second.state != WatchState::none;
    const bool may_write = !is_table || shadow_bug(ShadowBug::writable_table);
    if (!may_write && attempt.access.kind == AccessKind::write) return Install::table_write;

    if (const Install rooted = root_of(attempt, context); rooted != Install::done) return rooted;
    const auto steps = attempt.found.path.steps();
    const std::uint64_t leaf_entry = attempt.found.path.leaf().value;
    GuestRights above;
    for (std::size_t i = 0; i + 1 < steps.size(); ++i) {
        restrict(above, attempt.view.mode, steps[i].level, steps[i].value);
        const Role role = attempt.view.role_of(below(steps[i].level), above);
        const Install linked = descend(attempt, frame_of(steps[i + 1].entry), role, steps[i].value);
        if (linked != Install::done) return linked;
    }
    // A large guest page is mapped in small pieces, by pages that stand for no table.
    for (Level level = attempt.found.leaf; level != Level::page_4k; level = below(level)) {
        const Gfn first{attempt.data.value() / pages_spanned(level) * pages_spanned(level)};
        const Role role{
            .level = below(level), .access = rights.rights, .direct = true, .converted = rights.converted, .mode = {}};
        const Install linked = descend(attempt, first, role, leaf_entry);
        if (linked != Install::done) return linked;
    }
    if (!may_write) rights.rights.writable = false;
    if (log_ != nullptr) {
        // A page is written when it is first written, not when it could be.
        if (attempt.access.kind == AccessKind::write) {
            log_->mark(attempt.data);
        } else {
            rights.rights.writable = false;
        }
    }
    const std::uint16_t index = attempt.index_at(Level::page_4k);
    const Hvp host = shadow_bug(ShadowBug::large_pieces_alike) && attempt.found.leaf != Level::page_4k
                         ? attempt.host - index
                         : attempt.host;
    if (tree_.map({attempt.at, index}, rights.leaf(host), leaf_entry)) return Install::done;
    attempt.stuck_at(*attempt.at, index);
    return Install::conflict;
}

ShadowTable::Install ShadowTable::root_of(Attempt& attempt, ShadowContext& context) {
    attempt.at = context.root;
    if (attempt.at != nullptr) return Install::done;
    const Role role = attempt.view.root_role();
    const Gfn root = frame_of(attempt.view.root);
    if (const ShadowPage* known = tree_.find(root, role); known != nullptr && role.may_be_stale() && known->used != 0) {
        attempt.stuck_at(*known, 0);
        return Install::unsync_reuse;
    }
    attempt.at = tree_.obtain(root, role);
    if (attempt.at == nullptr) return Install::again;
    hold_root(attempt.id, context, *attempt.at);
    return Install::done;
}

ShadowTable::Install ShadowTable::descend(Attempt& attempt, Gfn gfn, const Role& role, std::uint64_t guest) {
    ShadowPage& parent = *attempt.at;
    const std::uint16_t index = attempt.index_at(parent.role.level);
    if (parent.state(index) != EntryState::empty) {
        ShadowPage& child = parent.child(index);
        if (child.gfn != gfn || child.role.packed() != role.packed()) {
            attempt.stuck_at(parent, index);
            return Install::conflict;
        }
        parent.guest[index] = guest;
        attempt.at = &child;
        return Install::done;
    }
    const ShadowPage* known = tree_.find(gfn, role);
    // Its entries, or those of tables below, may be stale for those who had it; nobody who did not may see them. That
    // is also whoever had it once: an announcement looks below the announcer's root only. (KVM: kvm_sync_page and
    // mmu_sync_children on reuse.)
    if (known != nullptr && role.may_be_stale() && known->used != 0 && !shadow_bug(ShadowBug::stale_unsync_link)) {
        attempt.stuck_at(*known, 0);
        return Install::unsync_reuse;
    }
    ShadowPage* child = tree_.obtain(gfn, role);
    if (child == nullptr) return Install::again;
    tree_.link({&parent, index}, *child, guest);
    attempt.at = child;
    return Install::done;
}

ShadowTable::Step ShadowTable::settle_install(Attempt& attempt, Install installed) {
    switch (installed) {
        case Install::done:
            stats_.installed.add();
            return attempt.answered(ShadowOutcome::installed);
        case Install::again:
            return Step::again;
        case Install::table_write:
            if (attempt.has_pinned(attempt.data)) return attempt.answered(ShadowOutcome::own_table);
            written(attempt.data);  // the device is who writes it
            return Step::again;
        case Install::conflict:
        case Install::unsync_reuse:
            break;
    }
    Cut cut(tlb_);
    {
        const MutexLock lock(mutex_);
        close_gate();
        if (ShadowPage* page = tree_.find(attempt.stuck_gfn, attempt.stuck_role)) {
            if (installed == Install::conflict) tree_.drop({page, attempt.stuck_index}, cut);
            if (installed == Install::unsync_reuse) tree_.drop_entries(*page, cut);
        }
    }
    discharge(cut, everything());
    return Step::again;
}

}  // namespace penumbra::mmu
