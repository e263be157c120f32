// The page walk of a 64-bit guest (SDM volume 3, 4.5 to 4.8), over tables that are hostile input: they may lie outside
// RAM or in swapped-out pages, refer to each other in circles, and change under the walk.
//
//   read down --> reserved? absent? --> leaf --> may this access? --> set A and D by compare-and-swap --> translation
//      ^                                                                     |
//      `-------------------- an entry changed (bounded) --------------------'
#pragma once

#include <cstdint>
#include <expected>

#include "base/address.hpp"
#include "shadow-mmu/guest_walk/paging_mode.hpp"
#include "shadow-mmu/guest_walk/walk_path.hpp"

namespace penumbra::mmu {

/// Whether a walk sets accessed and dirty flags, as a processor's does, or only looks.
enum class MarkPages : std::uint8_t { accessed_and_dirty, no };

struct GuestWalkRequest {
    Gpa root;  ///< of the top table: CR3 without its low 12 bits
    Gva address;
    GuestAccess access;
    MarkPages mark = MarkPages::accessed_and_dirty;
};

enum class GuestFaultCause : std::uint8_t {
    // #PF, with an error code
    not_present,
    reserved_bit,
    write_denied,    ///< R/W is 0 on the way
    user_denied,     ///< U/S is 0 on the way
    no_execute,      ///< XD is 1 on the way
    smep,            ///< a supervisor fetches from a user page
    smap,            ///< a supervisor reads or writes a user page
    protection_key,  ///< PKRU or IA32_PKRS forbid it
    // #GP, or #SS where the stack was accessed
    non_canonical,
    // no answer of the guest's tables
    table_absent,    ///< a table's page is not resident: request the page of `entry`, then walk again
    table_not_ram,   ///< a table lies outside RAM; KVM answers a page fault as if not_present
    table_unstable,  ///< entries kept changing for max_walk_restarts rounds: walk again later
};

/// Bits of a page fault's error code (SDM volume 3, 4.7).
namespace page_fault {
inline constexpr std::uint32_t present = 1U << 0;
inline constexpr std::uint32_t write = 1U << 1;
inline constexpr std::uint32_t user = 1U << 2;
inline constexpr std::uint32_t reserved = 1U << 3;
inline constexpr std::uint32_t fetch = 1U << 4;
inline constexpr std::uint32_t key = 1U << 5;
}  // namespace page_fault

struct GuestFault {
    GuestFaultCause cause = GuestFaultCause::not_present;
    std::uint32_t error_code = 0;  ///< of a #PF; for table_not_ram that of not_present, else 0
    Level level = Level::page_4k;  ///< where the walk ended; the top's for non_canonical
    Gpa entry{};                   ///< the entry it ended at; 0 for non_canonical

    [[nodiscard]] bool is_page_fault() const { return cause < GuestFaultCause::non_canonical; }
};

/// Permissions are those of all entries together, before mode and access come in. accessed and dirty flags of `path`
/// are as the walk left them.
struct GuestTranslation {
    Gpa gpa;                             ///< of the byte asked for
    Level leaf = Level::page_4k;         ///< size of the page
    bool writable = false;               ///< R/W is 1 in every entry
    bool user = false;                   ///< U/S is 1 in every entry
    bool executable = false;             ///< XD is 0 in every entry, or EFER.NXE is 0
    bool dirty = false;                  ///< D of the leaf: until it is set, a table may map the page for reading only
    bool global = false;                 ///< G of the leaf, with CR4.PGE
    std::uint8_t protection_key = 0;     ///< bits 62:59 of the leaf
    std::uint8_t memory_type_index = 0;  ///< into IA32_PAT: PAT << 2 | PCD << 1 | PWT
    WalkPath<Gpa> path;
};

using GuestWalkResult = std::expected<GuestTranslation, GuestFault>;

/// Takes at most 1 + max_walk_restarts rounds of at most five reads and five exchanges. Holds no lock and keeps
/// nothing; any number of threads may walk at once. Flags are set only after every check has passed, from the top down:
/// where the walk then has to start over, upper entries keep theirs, as after a processor's speculative walk (SDM 4.8).
/// Not covered: 32-bit and PAE paging, shadow-stack accesses, linear-address masking.
[[nodiscard]] GuestWalkResult walk_guest(GuestEntries& entries, const PagingMode& mode,
                                         const GuestWalkRequest& request);

}  // namespace penumbra::mmu
