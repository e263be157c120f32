// Wrong walks that test builds can switch on, one at a time, to prove that the conformance sweeps notice each.
// Elsewhere `walk_bug()` is the constant false and the code behind it vanishes (as in base/planted.hpp).
#pragma once

#include <atomic>
#include <cstdint>

namespace penumbra::mmu {

enum class WalkBug : std::uint8_t {
    none,
    // permissions
    write_protect_ignored,  ///< CR0.WP = 1 does not stop a supervisor's write
    write_protect_assumed,  ///< CR0.WP = 0 does
    write_at_leaf_only,     ///< R/W of upper entries is not looked at
    user_at_leaf_only,      ///< U/S of upper entries is not looked at
    execute_at_leaf_only,   ///< XD of upper entries is not looked at
    smep_ignored,
    smep_needs_nx,      ///< SMEP only with EFER.NXE
    smap_ignores_ac,    ///< RFLAGS.AC does not lift SMAP
    implicit_obeys_ac,  ///< RFLAGS.AC lifts SMAP for implicit accesses too
    smap_on_fetch,      ///< SMAP denies fetches
    user_key_on_supervisor_page,
    key_on_fetch,
    key_of_upper_entry,         ///< the key comes from the entry above the leaf
    key_ignores_write_protect,  ///< WD stops a supervisor's write with CR0.WP = 0
    supervisor_key_ignored,
    // error code
    fetch_flag_always,  ///< I without EFER.NXE and CR4.SMEP
    key_flag_alone,     ///< PK is not reported beside another reason
    // reserved bits
    width_off_by_one,       ///< bit MAXPHYADDR counts as an address bit
    no_execute_unreserved,  ///< bit 63 with EFER.NXE = 0
    large_2m_low_bits,      ///< bit 13 of a 2 MiB leaf
    large_1g_low_bits,      ///< bits 13 to 29 of a 1 GiB leaf
    top_page_size,          ///< bit 7 of a PML4 or PML5 entry
    gigabyte_unsupported,   ///< bit 7 of a PDPT entry where there are no 1 GiB pages
    upper_global_ignored,   ///< bit 8 of a PML4 entry on AMD
    reserved_when_absent,   ///< reserved bits of an entry that is not present
    // accessed and dirty flags
    mark_before_check,  ///< flags are set although the access is denied
    leaf_marked_only,   ///< no accessed flag in upper entries
    dirty_on_read,
    never_dirty,
    // results
    pat_of_4k_in_large,   ///< the PAT bit of a large leaf is taken from bit 7
    canonical_48,         ///< bit 47 counts as free in 48-bit addresses
    large_base_unmasked,  ///< PAT bit 12 of a large leaf counts as address
    // races
    change_ignored,  ///< an entry that changed before its flag was set does not restart the walk
    // extended page tables
    ept_write_only_allowed,
    ept_execute_only_allowed,  ///< where the processor has none
    ept_memory_type_ignored,
    ept_upper_reserved_ignored,
    ept_permission_at_leaf_only,
    ept_table_access_is_read,  ///< with accessed and dirty flags, a guest table access needs no W
    ept_user_execute_ignored,  ///< XU is not looked at under mode-based execute control
    ept_mark_before_check,
    ept_large_low_bits,
    count
};

#if defined(PENUMBRA_TEST_SWITCHES)

namespace walk_bug_detail {
inline std::atomic<WalkBug> walk_bug{WalkBug::none};
}  // namespace walk_bug_detail

[[nodiscard]] inline bool walk_bug(WalkBug bug) {
    return walk_bug_detail::walk_bug.load(std::memory_order_relaxed) == bug;
}
/// Plants for the life of a scope.
class PlantedWalkBug {
public:
    explicit PlantedWalkBug(WalkBug bug) { walk_bug_detail::walk_bug.store(bug, std::memory_order_relaxed); }
    ~PlantedWalkBug() { walk_bug_detail::walk_bug.store(WalkBug::none, std::memory_order_relaxed); }
    PlantedWalkBug(const PlantedWalkBug&) = delete;
    PlantedWalkBug& operator=(const PlantedWalkBug&) = delete;
};

#else

[[nodiscard]] constexpr bool walk_bug(WalkBug) { return false; }

#endif

}  // namespace penumbra::mmu
