// The shadow pages of one table and how they hang together: found by frame and role, linked to any number of parents,
// their leaves listed by host page, the oldest known. Structure only: no lock, no watch, no guest memory.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "shadow-mmu/flush/flush_batch.hpp"
#include "shadow-mmu/shadow/shadow_page.hpp"
#include "shadow-mmu/table/table_counters.hpp"

namespace penumbra::mmu {

struct ContextFlush {
    using Run = ContextRun;
    static constexpr std::size_t capacity = 64;
    ContextTlb& tlb;
    bool everything = false;  ///< too many runs to name
    void flush(std::span<const ContextRun> runs) const;
    void flush_all() const;
};

/// What a change of the tree leaves to do: flushes, and watched tables that lost a shadow page.
struct Cut {
    explicit Cut(ContextTlb& tlb) : target{tlb}, flush(target) {}
    ContextFlush target;
    FlushBatch<ContextFlush> flush;
    std::vector<Gfn> tables;
};

/// Not thread-safe. Every entry that goes puts the runs it translated into the cut's flush: over all paths from
/// current roots down to it, or everything where these are too many.
class ShadowTree {
public:
    explicit ShadowTree(std::size_t quota) : quota_(quota) {}
    ~ShadowTree();
    ShadowTree(const ShadowTree&) = delete;
    ShadowTree& operator=(const ShadowTree&) = delete;

    [[nodiscard]] ShadowPage* find(Gfn gfn, std::uint64_t packed_role) const;
    [[nodiscard]] ShadowPage* find(Gfn gfn, const Role& role) const { return find(gfn, role.packed()); }
    /// Finds or makes; null when the quota is used up. A page that was made must be linked, or held as a root.
    [[nodiscard]] ShadowPage* obtain(Gfn gfn, const Role& role);
    /// Calls fn(page) for each page that stands for a guest table of the range. fn may drop entries and pages.
    template <class Fn>
    void for_each_table(GfnRange range, Fn&& fn) {
        std::vector<Key> keys;
        for (auto at = pages_.lower_bound({range.first(), 0}); at != pages_.end() && at->first.first < range.end();
             ++at) {
            if (at->second->is_guest_table()) keys.push_back(at->first);
        }
        for (const Key& key : keys) {
            if (ShadowPage* page = find(key.first, key.second)) fn(*page);
        }
    }
    /// Whether a page stands for a guest table that has to be watched.
    [[nodiscard]] bool has_watched(Gfn gfn) const;
    void touch(ShadowPage& page);
    [[nodiscard]] ShadowPage* oldest() const { return ages_.empty() ? nullptr : ages_.front(); }

    /// Fills an empty slot. `guest` is the entry that it came from.
    void link(EntryPlace parent, ShadowPage& child, std::uint64_t guest);
    /// Fills an empty slot, or changes what a leaf permits. False: the change owes a flush, drop the entry first.
    [[nodiscard]] bool map(EntryPlace place, std::uint64_t leaf, std::uint64_t guest);
    /// Removes one entry and whatever has no other parent below it. Nothing where it is empty.
    void drop(EntryPlace place, Cut& cut);
    void drop_entries(ShadowPage& page, Cut& cut);
    /// Removes a page that no context holds as root, from all its parents.
    void remove(ShadowPage& page, Cut& cut);
    void remove_if_orphan(ShadowPage& page, Cut& cut);
    /// Puts the runs into the flush that `count` entries from `first` on translate.
    void flush_entries(const ShadowPage& page, unsigned first, unsigned count, Cut& cut) const;

    [[nodiscard]] const ReverseMap& leaves() const { return leaves_; }
    [[nodiscard]] std::size_t pages() const { return pages_.size(); }
    [[nodiscard]] std::size_t room() const { return quota_ - pages_.size(); }
    [[nodiscard]] TableCounters& counters() { return counters_; }
    /// What is wrong with links, reverse entries and counts, or nothing. Looks at everything.
    [[nodiscard]] std::string inconsistency() const;

private:
    using Key = std::pair<Gfn, std::uint64_t>;
    void write(EntryPlace place, std::uint64_t to);
    void unlink(EntryPlace place, Cut& cut);
    void destroy(ShadowPage& page, Cut& cut);
    void flush_above(const ShadowPage& page, std::uint64_t offset, std::uint64_t pages, unsigned& steps,
                     Cut& cut) const;

    std::size_t quota_;
    std::map<Key, std::unique_ptr<ShadowPage>> pages_;
    std::list<ShadowPage*> ages_;  // oldest first
    ReverseMap leaves_;
    TableCounters counters_;
};

}  // namespace penumbra::mmu
