// The rules of one entry and of the access: pure functions of guest_walk.cpp.
#pragma once

#include <cstdint>
#include <optional>

#include "shadow-mmu/guest_walk/guest_walk.hpp"

namespace penumbra::mmu {

/// What the entries of a path permit together.
struct GuestRights {
    bool writable = true;
    bool user = true;
    bool executable = true;
    std::uint8_t protection_key = 0;
};

/// Whether bits 47 or 56 and up are all equal (SDM volume 1, 3.3.7.1).
[[nodiscard]] bool is_canonical(Gva address, Level top);
/// Whether an entry ends the walk. True for no entry of levels 4 and 5.
[[nodiscard]] bool is_leaf(Level level, std::uint64_t raw);
/// Whether a present entry has a reserved bit set (SDM volume 3, 4.7, "RSVD flag").
[[nodiscard]] bool has_reserved_bit(const PagingMode& mode, Level level, std::uint64_t raw);
/// Takes away what an entry forbids, and the leaf's key.
void restrict(GuestRights& rights, const PagingMode& mode, Level level, std::uint64_t raw);
/// Why the access may not be made, or nullopt (SDM volume 3, 4.6).
[[nodiscard]] std::optional<GuestFaultCause> denial(const PagingMode& mode, GuestAccess access,
                                                    const GuestRights& rights);
/// Error code of a page fault; `rights` matter to permission faults alone.
[[nodiscard]] std::uint32_t error_code_of(GuestFaultCause cause, const PagingMode& mode, GuestAccess access,
                                          const GuestRights& rights);

}  // namespace penumbra::mmu
