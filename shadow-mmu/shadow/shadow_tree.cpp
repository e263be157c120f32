#include "shadow-mmu/shadow/shadow_tree.hpp"

#include <algorithm>

#include "shadow-mmu/shadow/shadow_bugs.hpp"
#include "shadow-mmu/table/entry_transition.hpp"

namespace penumbra::mmu {

namespace {

/// Entries of shadow pages are touched under their table's lock only: nobody else changes one, nobody sleeps on one.
struct LockedEntries {
    using Slot = std::uint64_t;
    static bool compare_exchange(Slot& slot, std::uint64_t expected, std::uint64_t desired) {
        if (slot != expected) return false;
        slot = desired;
        return true;
    }
    static void wake(Slot&) {}
};

/// More steps up from one entry are not taken: everything is flushed instead. A guest that shares its tables widely
/// could make their number grow with the fourth power of 512.
constexpr unsigned most_steps_up = 256;

}  // namespace

void ContextFlush::flush(std::span<const ContextRun> runs) const {
    if (shadow_bug(ShadowBug::skip_flush)) return;
    if (everything) {
        tlb.flush_all();
    } else {
        tlb.flush(runs);
    }
}
void ContextFlush::flush_all() const {
    if (!shadow_bug(ShadowBug::skip_flush)) tlb.flush_all();
}

ShadowTree::~ShadowTree() = default;

ShadowPage* ShadowTree::find(Gfn gfn, std::uint64_t packed_role) const {
    const auto found = pages_.find(Key{gfn, packed_role});
    return found == pages_.end() ? nullptr : found->second.get();
}

ShadowPage* ShadowTree::obtain(Gfn gfn, const Role& role) {
    if (ShadowPage* found = find(gfn, role)) return found;
    if (room() == 0) return nullptr;
    std::unique_ptr<ShadowPage>& made = pages_[Key{gfn, role.packed()}];
    made = std::make_unique<ShadowPage>();
    made->gfn = gfn;
    made->role = role;
    made->age = ages_.insert(ages_.end(), made.get());
    return made.get();
}

bool ShadowTree::has_watched(Gfn gfn) const {
    for (auto at = pages_.lower_bound(Key{gfn, 0}); at != pages_.end() && at->first.first == gfn; ++at) {
        if (at->second->is_watched_table()) return true;
    }
    return false;
}

void ShadowTree::touch(ShadowPage& page) { ages_.splice(ages_.end(), ages_, page.age); }

void ShadowTree::write(EntryPlace place, std::uint64_t to) {
    ShadowPage& page = *place.page;
    const auto move_to = [&](std::uint64_t next) {
        std::uint64_t& slot = page.slots[place.index];
        const bool moved = transition<X86Format, LockedEntries>(slot, slot, next, page.role.level, counters_);
        PENUMBRA_ASSERT(moved, "an entry changed under the lock");
    };
    const EntryState from = page.state(place.index);
    page.used += (to != 0 ? 1U : 0U) - (from != EntryState::empty ? 1U : 0U);
    if (to == 0) {
        move_to(X86Format::frozen(page.slots[place.index]));
    } else if (from == EntryState::empty && X86Format::state(to, page.role.level) == EntryState::present) {
        move_to(X86Format::busy());
    }
    move_to(to);
}

void ShadowTree::link(EntryPlace parent, ShadowPage& child, std::uint64_t guest) {
    PENUMBRA_ASSERT(below(parent.page->role.level) == child.role.level, "a shadow page linked at another level");
    write(parent, child.table_entry());
    parent.page->guest[parent.index] = guest;
    if (!child.parents.empty() && shadow_bug(ShadowBug::dropped_parent_link)) return;
    child.parents.push_back(parent);
}

bool ShadowTree::map(EntryPlace place, std::uint64_t leaf, std::uint64_t guest) {
    ShadowPage& page = *place.page;
    const std::uint64_t now = page.slots[place.index];
    if (now != 0 && now != leaf) {
        const bool wider = X86Format::same_page(now, leaf) && !owes_flush<X86Format>(now, leaf, page.role.level);
        if (!wider) return false;
    }
    page.guest[place.index] = guest;
    if (now == leaf) return true;
    if (now == 0) leaves_.add(X86Format::frame(leaf), place);
    write(place, leaf);
    return true;
}

void ShadowTree::drop(EntryPlace place, Cut& cut) {
    if (place.page->slots[place.index] == 0) return;
    flush_entries(*place.page, place.index, 1, cut);
    unlink(place, cut);
}

void ShadowTree::drop_entries(ShadowPage& page, Cut& cut) {
    if (page.used == 0) return;
    flush_entries(page, 0, entries_per_node, cut);
    for (std::uint16_t i = 0; i < entries_per_node; ++i) {
        if (page.state(i) == EntryState::table && shadow_bug(ShadowBug::missed_child_sync)) continue;
        unlink({&page, i}, cut);
    }
}

void ShadowTree::remove(ShadowPage& page, Cut& cut) {
    PENUMBRA_ASSERT(page.roots == 0, "a shadow page was removed under the contexts that hold it");
    flush_entries(page, 0, entries_per_node, cut);
    while (!page.parents.empty()) {
        const EntryPlace parent = page.parents.back();
        page.parents.pop_back();
        write(parent, 0);
    }
    destroy(page, cut);
}

void ShadowTree::remove_if_orphan(ShadowPage& page, Cut& cut) {
    if (page.is_orphan()) destroy(page, cut);
}

/// At most five levels deep: a child is one level lower.
void ShadowTree::unlink(EntryPlace place, Cut& cut) {
    const std::uint64_t raw = place.page->slots[place.index];
    if (raw == 0) return;
    if (place.page->state(place.index) != EntryState::table) {
        leaves_.remove(X86Format::frame(raw), place);
        write(place, 0);
        return;
    }
    ShadowPage& child = place.page->child(place.index);
    const auto link = std::ranges::find(child.parents, place);
    write(place, 0);
    if (link == child.parents.end()) {
        PENUMBRA_ASSERT(shadow_bug(ShadowBug::dropped_parent_link), "a child that does not know its parent");
        return;
    }
    *link = child.parents.back();
    child.parents.pop_back();
    remove_if_orphan(child, cut);
}

void ShadowTree::destroy(ShadowPage& page, Cut& cut) {
    for (std::uint16_t i = 0; i < entries_per_node && page.used != 0; ++i) unlink({&page, i}, cut);
    if (page.is_watched_table()) cut.tables.push_back(page.gfn);
    ages_.erase(page.age);
    pages_.erase(Key{page.gfn, page.role.packed()});
}

void ShadowTree::flush_entries(const ShadowPage& page, unsigned first, unsigned count, Cut& cut) const {
    unsigned steps = 0;
    const std::uint64_t each = pages_spanned(page.role.level);
    flush_above(page, first * each, count * each, steps, cut);
    if (steps <= most_steps_up) return;
    cut.target.everything = true;
    cut.flush.add({});
}

void ShadowTree::flush_above(const ShadowPage& page, std::uint64_t offset, std::uint64_t pages, unsigned& steps,
                             Cut& cut) const {
    if (++steps > most_steps_up) return;
    for (const ContextId context : page.current_of) {
        cut.flush.add({context, canonical_run(offset, pages, page.role.level)});
    }
    for (const EntryPlace& parent : page.parents) {
        flush_above(*parent.page, parent.index * pages_spanned(parent.page->role.level) + offset, pages, steps, cut);
    }
}

}  // namespace penumbra::mmu
