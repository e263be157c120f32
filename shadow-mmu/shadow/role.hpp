// What, besides a guest table's content, decides how it is shadowed, and what a leaf may permit.
#pragma once

#include <cstdint>

#include "shadow-mmu/format/x86_format.hpp"
#include "shadow-mmu/guest_walk/guest_rights.hpp"
#include "shadow-mmu/shadow/context_tlb.hpp"

namespace penumbra::mmu {

/// Bits of paging modes that make the same entry mean something else. Two contexts that differ in others only (keys'
/// rights) share shadow pages: those count when a leaf is used. (KVM: union kvm_mmu_page_role, asm/kvm_host.h.)
struct RoleMode {
    bool no_execute = false;
    bool write_protect = false;
    bool smep_and_not_wp = false;  ///< a leaf turned supervisor's for CR0.WP = 0 may not be executed
    bool smap_and_not_wp = false;  ///< and existed only by leave of RFLAGS.AC
    bool gigabyte_pages = false;
    UpperGlobalBit upper_global = UpperGlobalBit::ignored;
    std::uint8_t physical_bits = 0;

    friend bool operator==(const RoleMode&, const RoleMode&) = default;
};
[[nodiscard]] RoleMode role_mode_of(const PagingMode& mode);

/// A shadow page is used again only where frame and role are the same.
struct Role {
    Level level = Level::page_4k;
    GuestRights access;   ///< what the tables above permit together; of a direct page, what its leaves do
    bool direct = false;  ///< a piece of a large guest page: the frame is its first page's, there is no guest table
    bool over_unsync = false;  ///< a watched table above ones that are not: its page leads to theirs
    bool unsync = false;       ///< the guest table is not watched: entries may be stale until the guest announces
    bool converted = false;    ///< of a direct page: see LeafRights
    RoleMode mode;             ///< of a direct page: none

    [[nodiscard]] bool may_be_stale() const { return unsync || over_unsync; }
    /// One number per role.
    [[nodiscard]] std::uint64_t packed() const;
};

/// What a leaf permits, as a processor would read it with CR0.WP set. `converted`: a supervisor writes, with CR0.WP
/// clear, to a user's page that is read-only. No leaf can permit that and the user's reads alone, so for the supervisor
/// it becomes its own page (KVM: Documentation/virt/kvm/x86/mmu.rst, "Emulating cr0.wp").
struct LeafRights {
    GuestRights rights;
    bool converted = false;

    [[nodiscard]] std::uint64_t leaf(Hvp page) const;
    [[nodiscard]] static LeafRights of_leaf(std::uint64_t leaf);
};
[[nodiscard]] LeafRights leaf_rights_of(const GuestTranslation& found, const PagingMode& mode, GuestAccess access);

/// Everything that may be done through a leaf in a context of that mode.
[[nodiscard]] AllowedAccesses allowed_by(std::uint64_t leaf, const PagingMode& mode);

}  // namespace penumbra::mmu
