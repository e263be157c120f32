// Announcements: entries of unwatched tables are read again, and those that changed go.
#include "shadow-mmu/shadow/shadow_bugs.hpp"
#include "shadow-mmu/shadow/shadow_table.hpp"
#include "shadow-mmu/shadow/zap_ranges.hpp"

namespace penumbra::mmu {

bool ShadowTable::sweep(const ShadowPage& page, std::uint64_t offset, Sweep& sweep) const {
    const bool checked = page.role.unsync && page.is_guest_table() &&
                         !(page.role.level == Level::page_4k && shadow_bug(ShadowBug::invalidate_misses_unsync));
    const std::uint64_t each = pages_spanned(page.role.level);
    unsigned left = page.used;
    for (std::uint16_t i = 0; left != 0; ++i) {
        if (page.state(i) == EntryState::empty) continue;
        --left;
        const GvpRange run = canonical_run(offset + i * each, each, sweep.top);
        if (!sweep.pages.overlaps(run)) continue;
        if (sweep.steps_left == 0) return false;
        --sweep.steps_left;
        if (checked) sweep.checks.push_back({page.gfn, page.role.packed(), page.guest[i], i});
        if (page.state(i) == EntryState::table) {
            if (!this->sweep(page.child(i), offset + i * each, sweep)) return false;
        } else {
            sweep.found.push_back({run.first(), X86Format::frame(page.slots[i]), {}});
        }
    }
    return true;
}

void ShadowTable::drop_changed(std::span<const Check> checks, Cut& cut) {
    for (const Check& check : checks) {
        ShadowPage* page = tree_.find(check.gfn, check.role);
        if (page == nullptr || page->guest[check.index] != check.expected) continue;
        tree_.drop({page, check.index}, cut);
    }
}

void ShadowTable::invalidate(ContextId id, GvpRange pages) {
    Sweep swept{pages, Level::top_4, 2 * entries_per_node * limits_.pages, {}, {}};
    bool complete = true;
    {
        const MutexLock lock(mutex_);
        const ShadowContext* context = context_of(id);
        if (context == nullptr || context->view.tracking == Tracking::watched) return;
        ++announcements_;  // before anything is read: faults that have read already begin again
        swept.top = context->view.mode.top;
        if (context->root != nullptr) complete = sweep(*context->root, 0, swept);
    }
    std::erase_if(swept.checks, [&](const Check& check) {
        const auto now = memory_.read(address_of(check.gfn) + check.index * sizeof(std::uint64_t));
        const bool same = now && *now == check.expected;
        if (same) stats_.synced.add();
        return same;
    });
    Cut cut(tlb_);
    {
        const MutexLock lock(mutex_);
        close_gate();  // in any case: what another zap has dropped may still be in the TLB
        ShadowContext* context = context_of(id);
        if (complete || context == nullptr) {
            drop_changed(swept.checks, cut);
        } else {
            forget_roots(id, *context, cut);
        }
    }
    discharge(cut, everything());
}

std::vector<ShadowTable::Translation> ShadowTable::translations(ContextId id, std::size_t most) {
    const MutexLock lock(mutex_);
    const ShadowContext* context = context_of(id);
    if (context == nullptr || context->root == nullptr) return {};
    const PagingMode& mode = context->view.mode;
    Sweep swept{whole_context, mode.top, most, {}, {}};
    if (!sweep(*context->root, 0, swept)) swept.found.resize(std::min(most, swept.found.size()));
    for (Translation& found : swept.found) found.allowed = allowed_by(find_leaf(*context, found.page)->leaf, mode);
    return std::move(swept.found);
}

}  // namespace penumbra::mmu
