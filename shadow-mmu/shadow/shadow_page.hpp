// One shadow page: 512 entries in x86 format that stand for a guest table, or for a piece of a large guest page.
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <vector>

#include "base/page_size.hpp"
#include "shadow-mmu/shadow/reverse_map.hpp"
#include "shadow-mmu/shadow/role.hpp"

namespace penumbra::mmu {

/// Belongs to its tree, and is touched under its table's lock only. The entries lie first, in a page of their own, so
/// that a table entry names its page as a processor's would.
struct alignas(page_bytes) ShadowPage {
    std::array<std::uint64_t, entries_per_node> slots{};
    /// The guest's entries that the present slots came from; nothing in a direct page.
    std::array<std::uint64_t, entries_per_node> guest{};

    Gfn gfn{};
    Role role;
    std::vector<EntryPlace> parents;    ///< the entries that name it
    std::vector<ContextId> current_of;  ///< contexts whose root it is now
    unsigned roots = 0;                 ///< contexts that hold it as root, current or cached
    unsigned used = 0;                  ///< slots that are not empty
    std::list<ShadowPage*>::iterator age{};

    [[nodiscard]] bool is_guest_table() const { return !role.direct; }
    [[nodiscard]] bool is_watched_table() const { return !role.direct && !role.unsync; }
    [[nodiscard]] bool is_orphan() const { return parents.empty() && roots == 0; }
    [[nodiscard]] EntryState state(unsigned index) const { return X86Format::state(slots[index], role.level); }
    [[nodiscard]] std::uint64_t table_entry() const { return X86Format::table(frame_of(hva_of(this))); }
    /// Of a table entry.
    [[nodiscard]] ShadowPage& child(unsigned index) const {
        return *reinterpret_cast<ShadowPage*>(pointer_to(X86Format::frame(slots[index])));
    }
};

/// Index of the entry that translates `page` in a table of that level.
[[nodiscard]] constexpr unsigned index_in(Gvp page, Level level) {
    return static_cast<unsigned>(page.value() / pages_spanned(level) % entries_per_node);
}

/// The pages that a run of a root table's reach translates: `offset` counts from its first entry.
[[nodiscard]] constexpr GvpRange canonical_run(std::uint64_t offset, std::uint64_t pages, Level top) {
    const std::uint64_t all = pages_spanned(top) * entries_per_node;
    if (pages >= all) return whole_context;
    if (offset >= all / 2) offset |= (whole_context.pages() - 1) & ~(all - 1);
    return {Gvp{offset}, pages};
}

}  // namespace penumbra::mmu
