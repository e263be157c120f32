#include "shadow-mmu/shadow/role.hpp"

#include "shadow-mmu/shadow/shadow_bugs.hpp"

namespace penumbra::mmu {

namespace {

constexpr std::uint64_t converted_bit = 1ULL << 56;  // software's, free in X86Bits
constexpr unsigned key_shift = 59;

static_assert((X86Format::may_change & converted_bit) == 0 && (X86Format::kind_mask & converted_bit) == 0);
static_assert(X86Bits::protection_key == 15ULL << key_shift);

}  // namespace

RoleMode role_mode_of(const PagingMode& mode) {
    RoleMode key;
    if (shadow_bug(ShadowBug::role_without_mode)) return key;
    key.no_execute = mode.no_execute;
    key.write_protect = mode.write_protect;
    key.smep_and_not_wp = mode.smep && !mode.write_protect;
    key.smap_and_not_wp = mode.smap && !mode.access_user && !mode.write_protect;
    key.gigabyte_pages = mode.gigabyte_pages;
    key.upper_global = mode.upper_global;
    key.physical_bits = mode.physical_bits;
    return key;
}

std::uint64_t Role::packed() const {
    std::uint64_t word = static_cast<std::uint64_t>(level);
    unsigned at = 3;
    const auto bit = [&](bool value) { word |= std::uint64_t{value} << at++; };
    const bool with_access = direct || !shadow_bug(ShadowBug::role_without_access);
    bit(with_access && access.writable);
    bit(with_access && access.user);
    bit(with_access && access.executable);
    bit(direct);
    bit(unsync);
    bit(over_unsync && !shadow_bug(ShadowBug::role_without_tracking));
    bit(converted);
    bit(mode.no_execute);
    bit(mode.write_protect);
    bit(mode.smep_and_not_wp);
    bit(mode.smap_and_not_wp);
    bit(mode.gigabyte_pages);
    bit(mode.upper_global == UpperGlobalBit::reserved);
    word |= std::uint64_t{mode.physical_bits} << at;
    at += 6;
    return word | std::uint64_t{direct ? access.protection_key : std::uint8_t{0}} << at;
}

std::uint64_t LeafRights::leaf(Hvp page) const {
    Rights raw = Right::host_write;  // pages of the window may be written
    if (rights.writable) raw = raw | Right::write;
    if (rights.user) raw = raw | Right::user;
    if (rights.executable) raw = raw | Right::execute;
    return X86Format::leaf(page, raw, Level::page_4k) | std::uint64_t{rights.protection_key} << key_shift |
           (converted ? converted_bit : 0);
}

LeafRights LeafRights::of_leaf(std::uint64_t leaf) {
    const Rights raw = X86Format::rights(leaf);
    return {GuestRights{raw.has(Right::write), raw.has(Right::user), raw.has(Right::execute),
                        static_cast<std::uint8_t>((leaf & X86Bits::protection_key) >> key_shift)},
            (leaf & converted_bit) != 0};
}

LeafRights leaf_rights_of(const GuestTranslation& found, const PagingMode& mode, GuestAccess access) {
    LeafRights leaf;
    const bool dirty = found.dirty || shadow_bug(ShadowBug::dirty_ignored);
    leaf.rights = {found.writable && dirty, found.user, found.executable, found.protection_key};
    const bool supervisor_write = access.kind == AccessKind::write && access.privilege != Privilege::user;
    if (mode.write_protect || !supervisor_write || found.writable) return leaf;
    leaf.rights.writable = true;  // the walk set D
    if (!found.user || shadow_bug(ShadowBug::supervisor_write_as_user)) return leaf;
    leaf.converted = true;
    leaf.rights.user = false;
    if (mode.smep) leaf.rights.executable = false;
    return leaf;
}

AllowedAccesses allowed_by(std::uint64_t leaf, const PagingMode& mode) {
    const LeafRights found = LeafRights::of_leaf(leaf);
    // What the leaf says, as if to a processor; then what the guest's own entries and keys say.
    PagingMode as_walked = mode;
    as_walked.write_protect = true;
    as_walked.user_keys = as_walked.supervisor_keys = false;
    GuestRights of_guest = found.rights;
    if (found.converted) {
        of_guest.user = true;
        of_guest.writable = false;
    }
    AllowedAccesses allowed;
    for (const AccessKind kind : {AccessKind::read, AccessKind::write, AccessKind::execute}) {
        for (const Privilege privilege : {Privilege::user, Privilege::supervisor, Privilege::implicit_supervisor}) {
            const GuestAccess access{kind, privilege};
            if (denial(as_walked, access, found.rights) || denial(mode, access, of_guest)) continue;
            allowed.add(access);
        }
    }
    return allowed;
}

}  // namespace penumbra::mmu
