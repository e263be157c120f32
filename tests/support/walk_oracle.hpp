// What the SDM says about an access to a 64-bit guest's page, worked out from pictures of the entries and a table of
// denials: a second opinion on shadow-mmu/guest_walk/guest_walk.hpp, which it shares the vocabulary of the question
// with, and no code.
#pragma once

#include <array>
#include <cstdint>

#include "shadow-mmu/guest_walk/guest_walk.hpp"

namespace penumbra::test {

/// One access through one chain of entries.
struct WalkCase {
    mmu::PagingMode mode;
    mmu::GuestAccess access;
    mmu::MarkPages mark = mmu::MarkPages::accessed_and_dirty;
    std::uint64_t root = 0;
    std::uint64_t address = 0;
    std::array<std::uint64_t, 5> entries{};  ///< by level from the top; behind the leaf they mean nothing
};

struct WalkVerdict {
    bool canonical = true;
    bool allowed = false;
    std::uint32_t error_code = 0;
    std::uint32_t reasons = 0;                     ///< a bit for each mmu::GuestFaultCause that holds
    std::array<std::uint64_t, 5> entries_after{};  ///< with accessed and dirty flags
    // where it is allowed:
    unsigned leaf_level = 0;
    unsigned used = 0;  ///< entries of the chain
    std::uint64_t physical = 0;
    bool writable = false, user = false, executable = false, dirty = false, global = false;
    unsigned key = 0, memory_type_index = 0;
};

[[nodiscard]] WalkVerdict oracle(const WalkCase& question);

}  // namespace penumbra::test
