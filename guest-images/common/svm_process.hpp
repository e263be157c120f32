// The svm image's own record of a process's page tables. A process has two roots; each maps one buffer, whose two
// halves lie on both sides of a border where entries of a high level end, so that each half has tables of its own below
// it.
//
//   root -> ... -> table of the border level -+-> half 0: tables of the levels below, each twice; one of each is in use
//                                             +-> half 1: the same, or one that both roots share
//
// The tables that are not in use name other pages: rewriting one entry of level n swaps all tables below it.
#pragma once

#include <cstdint>

#include "guest-images/common/svm_layout.hpp"
#include "guest-images/common/svm_log.hpp"

namespace penumbra::guest {

inline constexpr std::uint32_t svm_top = 5;  ///< levels are numbered from 1, the lowest

struct SvmForm {
    std::uint32_t pasid;
    std::uint32_t levels;
    std::uint32_t border_level;
    bool shares_half;  ///< half 1 is the same tables under both roots
    std::uint64_t border;
};
inline constexpr SvmForm svm_forms[svm_processes] = {
    {1, 4, 4, false, std::uint64_t{3} << 39},
    {2, 4, 4, true, 0xFFFF'0000'0000'0000 | std::uint64_t{300} << 39},
    {17, 4, 3, true, std::uint64_t{7} << 39 | std::uint64_t{5} << 30},
    {128, 4, 2, false, std::uint64_t{9} << 39 | std::uint64_t{3} << 30 | std::uint64_t{77} << 21},
    {254, 5, 5, false, std::uint64_t{2} << 48},
    {255, 5, 4, true, std::uint64_t{3} << 48 | std::uint64_t{11} << 39},
};

constexpr std::uint64_t svm_address(const SvmForm& form, std::uint64_t page) {
    return form.border - svm_half_pages * page_bytes + page * page_bytes;
}
constexpr std::uint64_t svm_index(std::uint32_t level, std::uint64_t address) {
    return address >> (12 + 9 * (level - 1)) & 511;
}
constexpr std::uint64_t svm_landing_address(const SvmForm& form, std::uint64_t landing) {
    return form.border + (svm_leaf_landing + landing * svm_landing_pages) * page_bytes;
}

/// A page that a leaf table maps.
struct SvmSlot {
    std::uint32_t page;  ///< data page
    std::uint32_t rights;
    /// Of a page that the device writes: which commands may and must have found it here. svm_never: none since the
    /// guest wrote it.
    std::uint64_t first_here;
    std::uint64_t last_before;
    std::uint64_t must_hold;  ///< 1 + number of a fill whose bytes it must hold, or those of a younger one
};

/// The tables of one half, below the border.
struct SvmChain {
    std::uint64_t table[svm_top][2];    ///< gpa, by level
    std::uint32_t used[svm_top];        ///< by level: which of the two
    std::uint32_t rights[svm_top + 1];  ///< by level: of the entry that leads to the tables in use
    std::uint32_t swapping;             ///< the tables out of use may still be in some TLB
    SvmSlot slots[2][svm_half_pages];

    [[nodiscard]] SvmSlot& slot(std::uint32_t page) { return slots[used[1]][page % svm_half_pages]; }
};

struct SvmProcess {
    std::uint64_t trunk[svm_roots][svm_top + 1];  ///< gpa of the tables from the border level up, by level
    SvmChain chains[svm_roots][2];
    std::uint32_t active;    ///< root
    std::uint64_t switched;  ///< 1 + the newest command that may work by the other root, or 0
    SvmPageLog log[svm_pages];
};

constexpr std::uint32_t svm_half(std::uint32_t page) { return page / svm_half_pages; }
constexpr bool svm_shared(std::uint32_t process, std::uint32_t half) {
    return half == 1 && svm_forms[process].shares_half;
}

/// Where an entry lies in a process's tables, on the way that is in use.
struct SvmPlace {
    std::uint32_t process;
    std::uint32_t root;
    std::uint32_t page;   ///< virtual page: its half, and of a leaf entry which
    std::uint32_t level;  ///< of the entry: 1 .. border level

    [[nodiscard]] const SvmForm& form() const { return svm_forms[process]; }
    [[nodiscard]] std::uint32_t half() const { return svm_half(page); }
    [[nodiscard]] std::uint64_t address() const { return svm_address(form(), page); }
    /// Which virtual pages an entry there translates.
    [[nodiscard]] std::uint32_t first() const { return level == 1 ? page : half() * svm_half_pages; }
    [[nodiscard]] std::uint32_t pages() const { return level == 1 ? 1 : svm_half_pages; }
};

inline SvmChain& svm_chain(SvmProcess& process, std::uint32_t number, std::uint32_t root, std::uint32_t half) {
    return process.chains[svm_shared(number, half) ? 0 : root][half];
}
inline SvmChain& svm_chain(SvmProcess* processes, const SvmPlace& at) {
    return svm_chain(processes[at.process], at.process, at.root, at.half());
}
/// Whether an entry there is one that commands of now go through.
inline bool svm_is_active(const SvmProcess* processes, const SvmPlace& at) {
    return processes[at.process].active == at.root || svm_shared(at.process, at.half());
}
/// Guest-physical address of the entry.
inline std::uint64_t svm_entry(SvmProcess* processes, const SvmPlace& at) {
    const SvmChain& chain = svm_chain(processes, at);
    const std::uint64_t table = at.level == at.form().border_level ? processes[at.process].trunk[at.root][at.level]
                                                                   : chain.table[at.level][chain.used[at.level]];
    return table + svm_index(at.level, at.address()) * sizeof(std::uint64_t);
}
/// What the way in use permits of a page.
inline std::uint64_t svm_rights(SvmProcess* processes, std::uint32_t number, std::uint32_t root, std::uint32_t page) {
    SvmChain& chain = svm_chain(processes[number], number, root, svm_half(page));
    std::uint64_t rights = chain.slot(page).rights;
    for (std::uint32_t level = 2; level <= svm_forms[number].border_level; ++level) rights &= chain.rights[level];
    return rights;
}

}  // namespace penumbra::guest
