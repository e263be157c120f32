#include "shadow-mmu/guest_walk/guest_rights.hpp"

#include "shadow-mmu/guest_walk/guest_entry.hpp"
#include "shadow-mmu/guest_walk/walk_bugs.hpp"

namespace penumbra::mmu {

namespace bit = guest_entry;

namespace {

/// Bits of a leaf of that size below its frame, but for PAT in bit 12, which must be zero.
std::uint64_t reserved_in_large(Level level) {
    if (level == Level::page_1g) return walk_bug(WalkBug::large_1g_low_bits) ? 0 : bit::bits(13, 29);
    return bit::bits(walk_bug(WalkBug::large_2m_low_bits) ? 14 : 13, 20);
}

bool key_denies(const PagingMode& mode, GuestAccess access, const GuestRights& rights) {
    if (access.kind == AccessKind::execute && !walk_bug(WalkBug::key_on_fetch)) return false;
    const bool user_rules = rights.user || walk_bug(WalkBug::user_key_on_supervisor_page);
    if (!(user_rules ? mode.user_keys : mode.supervisor_keys)) return false;
    if (!user_rules && walk_bug(WalkBug::supervisor_key_ignored)) return false;
    const std::uint32_t all = user_rules ? mode.user_key_rights : mode.supervisor_key_rights;
    const std::uint32_t own = all >> (2 * rights.protection_key);
    const bool access_disabled = (own & 1) != 0;
    const bool write_disabled = (own & 2) != 0;
    // A user's access to a supervisor page fails anyway; CR0.WP alone says whether its key counts as a reason too.
    const bool strict_writer = mode.write_protect || walk_bug(WalkBug::key_ignores_write_protect) ||
                               (rights.user && access.privilege == Privilege::user);
    return access_disabled || (write_disabled && access.kind == AccessKind::write && strict_writer);
}

bool smap_denies(const PagingMode& mode, GuestAccess access) {
    if (!mode.smap) return false;
    if (access.kind == AccessKind::execute) return walk_bug(WalkBug::smap_on_fetch);
    if (walk_bug(WalkBug::smap_ignores_ac)) return true;
    if (access.privilege == Privilege::implicit_supervisor && !walk_bug(WalkBug::implicit_obeys_ac)) return true;
    return !mode.access_user;
}

std::optional<GuestFaultCause> user_denial(GuestAccess access, const GuestRights& rights) {
    if (!rights.user) return GuestFaultCause::user_denied;
    if (access.kind == AccessKind::write && !rights.writable) return GuestFaultCause::write_denied;
    return std::nullopt;
}

std::optional<GuestFaultCause> supervisor_denial(const PagingMode& mode, GuestAccess access,
                                                 const GuestRights& rights) {
    if (rights.user) {
        const bool smep =
            mode.smep && !walk_bug(WalkBug::smep_ignored) && (mode.no_execute || !walk_bug(WalkBug::smep_needs_nx));
        if (access.kind == AccessKind::execute && smep) return GuestFaultCause::smep;
        if (smap_denies(mode, access)) return GuestFaultCause::smap;
    }
    const bool write_protect =
        (mode.write_protect && !walk_bug(WalkBug::write_protect_ignored)) || walk_bug(WalkBug::write_protect_assumed);
    if (access.kind == AccessKind::write && !rights.writable && write_protect) return GuestFaultCause::write_denied;
    return std::nullopt;
}

}  // namespace

bool is_canonical(Gva address, Level top) {
    const unsigned first = top == Level::top_5 ? 56 : (walk_bug(WalkBug::canonical_48) ? 48 : 47);
    const std::uint64_t upper = address.value() >> first;
    return upper == 0 || upper == ~std::uint64_t{0} >> first;
}

bool is_leaf(Level level, std::uint64_t raw) {
    if (level == Level::page_4k) return true;
    return level <= Level::page_1g && (raw & bit::page_size) != 0;
}

bool has_reserved_bit(const PagingMode& mode, Level level, std::uint64_t raw) {
    const unsigned width = mode.physical_bits + (walk_bug(WalkBug::width_off_by_one) ? 1U : 0U);
    std::uint64_t reserved = bit::bits(width, 51);
    if (!mode.no_execute && !walk_bug(WalkBug::no_execute_unreserved)) reserved |= bit::no_execute;
    if (level >= Level::top_4) {
        if (!walk_bug(WalkBug::top_page_size)) reserved |= bit::page_size;
        if (mode.upper_global == UpperGlobalBit::reserved && !walk_bug(WalkBug::upper_global_ignored)) {
            reserved |= bit::global;
        }
    } else if (level != Level::page_4k && is_leaf(level, raw)) {
        reserved |= reserved_in_large(level);
        const bool supported = mode.gigabyte_pages || walk_bug(WalkBug::gigabyte_unsupported);
        if (level == Level::page_1g && !supported) reserved |= bit::page_size;
    }
    return (raw & reserved) != 0;
}

void restrict(GuestRights& rights, const PagingMode& mode, Level level, std::uint64_t raw) {
    const bool leaf = is_leaf(level, raw);
    if ((raw & bit::writable) == 0 && (leaf || !walk_bug(WalkBug::write_at_leaf_only))) rights.writable = false;
    if ((raw & bit::user) == 0 && (leaf || !walk_bug(WalkBug::user_at_leaf_only))) rights.user = false;
    const bool no_execute = mode.no_execute && (raw & bit::no_execute) != 0;
    if (no_execute && (leaf || !walk_bug(WalkBug::execute_at_leaf_only))) rights.executable = false;
    if (leaf != walk_bug(WalkBug::key_of_upper_entry)) {
        rights.protection_key = static_cast<std::uint8_t>(raw >> bit::key_shift & 15);
    }
}

std::optional<GuestFaultCause> denial(const PagingMode& mode, GuestAccess access, const GuestRights& rights) {
    const bool by_user = access.privilege == Privilege::user;
    const auto denied = by_user ? user_denial(access, rights) : supervisor_denial(mode, access, rights);
    if (denied) return denied;
    if (access.kind == AccessKind::execute && !rights.executable) return GuestFaultCause::no_execute;
    if (key_denies(mode, access, rights)) return GuestFaultCause::protection_key;
    return std::nullopt;
}

std::uint32_t error_code_of(GuestFaultCause cause, const PagingMode& mode, GuestAccess access,
                            const GuestRights& rights) {
    std::uint32_t code = 0;
    if (access.kind == AccessKind::write) code |= page_fault::write;
    if (access.privilege == Privilege::user) code |= page_fault::user;
    const bool tells_fetches = mode.no_execute || mode.smep || walk_bug(WalkBug::fetch_flag_always);
    if (access.kind == AccessKind::execute && tells_fetches) code |= page_fault::fetch;
    if (cause == GuestFaultCause::not_present || cause == GuestFaultCause::table_not_ram) return code;
    code |= page_fault::present;
    if (cause == GuestFaultCause::reserved_bit) return code | page_fault::reserved;
    // The key is told whether or not it was the only reason (SDM volume 3, 4.7, "PK flag").
    const bool told = cause == GuestFaultCause::protection_key || !walk_bug(WalkBug::key_flag_alone);
    return told && key_denies(mode, access, rights) ? code | page_fault::key : code;
}

}  // namespace penumbra::mmu
