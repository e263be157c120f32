// The walk of extended page tables (SDM volume 3, 29.3): pure rules over an entry reader. It judges the format of our
// own EPT, and can walk a guest hypervisor's, whose tables are hostile input as any guest's.
#pragma once

#include <cstdint>
#include <expected>

#include "base/address.hpp"
#include "shadow-mmu/guest_walk/walk_path.hpp"

namespace penumbra::mmu {

struct EptTag;
/// What an entry names: a physical address to a processor, a host virtual one in EptTable, the outer guest's physical
/// one in a guest's tables.
using EptAddress = Address<EptTag>;
using EptEntries = TableEntries<EptAddress>;

/// Processor (IA32_VMX_EPT_VPID_CAP) and controls.
struct EptMode {
    Level top = Level::top_4;         ///< EPTP's walk length
    bool accessed_dirty = false;      ///< EPTP bit 6
    bool mode_based_execute = false;  ///< VM-execution control "mode-based execute control for EPT"
    bool execute_only = true;         ///< capability bit 0
    bool pages_2m = true;             ///< capability bit 16
    bool pages_1g = true;             ///< capability bit 17
    std::uint8_t physical_bits = 52;  ///< MAXPHYADDR, 32 to 52
};

enum class EptAccess : std::uint8_t {
    read,
    write,
    fetch,         ///< from a supervisor-mode linear address, or any where execution is not mode-based
    fetch_user,    ///< from a user-mode linear address
    table_read,    ///< of an entry of the guest's own page tables
    table_update,  ///< to set such an entry's accessed or dirty flag
};

/// Whether a linear address was being translated: bits 7 and 8 of the qualification tell.
enum class EptOrigin : std::uint8_t { linear_address, physical_address };

struct EptWalkRequest {
    EptAddress root;
    Gpa address;
    EptAccess access = EptAccess::read;
    EptOrigin origin = EptOrigin::linear_address;
};

enum class EptFaultCause : std::uint8_t {
    violation,
    misconfiguration,
    table_absent,  ///< as for GuestFaultCause
    table_not_ram,
    table_unstable,
};

/// Bits of an EPT violation's exit qualification (SDM volume 3, table 28-7).
namespace ept_violation {
inline constexpr std::uint32_t read = 1U << 0;
inline constexpr std::uint32_t write = 1U << 1;
inline constexpr std::uint32_t fetch = 1U << 2;
inline constexpr std::uint32_t readable = 1U << 3;  ///< bit of every entry of the walk
inline constexpr std::uint32_t writable = 1U << 4;
inline constexpr std::uint32_t executable = 1U << 5;
inline constexpr std::uint32_t user_executable = 1U << 6;  ///< with mode-based execute control
inline constexpr std::uint32_t linear_valid = 1U << 7;
inline constexpr std::uint32_t final_translation = 1U << 8;  ///< the access itself, not one to a guest's page table
}  // namespace ept_violation

struct EptFault {
    EptFaultCause cause = EptFaultCause::violation;
    std::uint32_t qualification = 0;  ///< of a violation, else 0
    Level level = Level::page_4k;     ///< where the walk ended
    EptAddress entry{};               ///< the entry it ended at
};

struct EptTranslation {
    EptAddress address;  ///< of the byte asked for
    Level leaf = Level::page_4k;
    bool readable = false, writable = false;
    bool executable = false;  ///< by supervisor, or by all where execution is not mode-based
    bool user_executable = false;
    bool ignore_pat = false;
    std::uint8_t memory_type = 0;  ///< 0 UC, 1 WC, 4 WT, 5 WP, 6 WB
    WalkPath<EptAddress> path;
};

using EptWalkResult = std::expected<EptTranslation, EptFault>;

/// Bounds, threads and flags as walk_guest(). Accessed and dirty flags are set where the mode has them, and then every
/// access to a guest's page table counts as a write.
[[nodiscard]] EptWalkResult walk_ept(EptEntries& entries, const EptMode& mode, const EptWalkRequest& request);

/// What is wrong with an EPTP: VM entry fails (SDM volume 3, 27.2.1.1).
enum class EptpProblem : std::uint8_t { memory_type, walk_length, accessed_dirty, reserved_bits };

/// What the processor offers for an EPTP (IA32_VMX_EPT_VPID_CAP).
struct EptpCapabilities {
    bool uncacheable = false;    ///< bit 8: the tables may be UC
    bool write_back = true;      ///< bit 14: the tables may be WB
    bool levels_5 = false;       ///< bit 7
    bool accessed_dirty = true;  ///< bit 21
    std::uint8_t physical_bits = 52;
};
struct Eptp {
    EptAddress root;
    Level top;
    bool accessed_dirty;
};
[[nodiscard]] std::expected<Eptp, EptpProblem> parse_eptp(std::uint64_t eptp, const EptpCapabilities& capabilities);

}  // namespace penumbra::mmu
