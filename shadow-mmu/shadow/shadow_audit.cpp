// What must hold of links, leaves and watches at quiet moments; for tests and inspection.
#include <algorithm>

#include "shadow-mmu/shadow/shadow_table.hpp"

namespace penumbra::mmu {

std::string ShadowTree::inconsistency() const {
    std::uint64_t leaves = 0, links = 0, parents = 0;
    for (const auto& [key, held] : pages_) {
        ShadowPage& page = *held;
        parents += page.parents.size();
        if (page.is_orphan()) return "a shadow page hangs nowhere";
        if (page.current_of.size() > page.roots) return "more contexts use a root than hold it";
        unsigned used = 0;
        for (std::uint16_t i = 0; i < entries_per_node; ++i) {
            const std::uint64_t raw = page.slots[i];
            if (raw == 0) continue;
            ++used;
            if (page.state(i) == EntryState::table) {
                ++links;
                const ShadowPage& child = page.child(i);
                if (child.role.level != below(page.role.level)) return "a link skips a level";
                if (std::ranges::count(child.parents, EntryPlace{&page, i}) != 1) return "a link its child lacks";
            } else {
                ++leaves;
                if (page.role.level != Level::page_4k) return "a large leaf";
                if (!leaves_.has(X86Format::frame(raw), {&page, i})) return "a leaf without a reverse entry";
            }
        }
        if (used != page.used) return "a wrong count of used slots";
    }
    if (links != parents) return "a parent link without an entry";
    if (leaves != leaves_.leaves()) return "a reverse entry without a leaf";
    if (counters_.mapped.get() - counters_.zapped.get() != leaves) return "leaves that were not counted";
    if (ages_.size() != pages_.size()) return "a page without an age";
    return {};
}

std::string ShadowTable::inconsistency() {
    const MutexLock lock(mutex_);
    if (std::string wrong = tree_.inconsistency(); !wrong.empty()) return wrong;
    if (gate_closed_) return "a zap is open";
    if (tree_.pages() > limits_.pages) return "more pages than the quota";
    for (const auto& [gfn, record] : records_) {
        if (record.pins != 0 || !record.settled()) return "a fault is open";
        const bool needed = tree_.has_watched(gfn);
        if (record.state != WatchState::watched) {
            if (!needed) return "a record that nobody needs";
            continue;
        }
        if (!needed) return "a watch without a shadow page";
        const WatchRequest table{gfn};
        if (!writable_leaves(std::span(&table, 1)).empty()) return "a watched table may be written";
    }
    std::string wrong;
    const auto look = [&](const ShadowPage& page) NO_THREAD_SAFETY_ANALYSIS {
        const auto record = records_.find(page.gfn);
        const bool watched = record != records_.end() && record->second.state == WatchState::watched;
        if (page.is_watched_table() && page.used != 0 && !watched) wrong = "entries of an unwatched table";
    };
    tree_.for_each_table({Gfn{0}, memslots_.end().value()}, look);
    return wrong;
}

}  // namespace penumbra::mmu
