// What the SDM says about an access through extended page tables, from pictures of the entries and a table of what each
// combination of permission bits admits. Shares no code with shadow-mmu/guest_walk/ept_walk.hpp.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "shadow-mmu/guest_walk/ept_walk.hpp"

namespace penumbra::test {

struct EptCase {
    mmu::EptMode mode;
    mmu::EptAccess access = mmu::EptAccess::read;
    mmu::EptOrigin origin = mmu::EptOrigin::linear_address;
    std::uint64_t root = 0;
    std::uint64_t address = 0;
    std::array<std::uint64_t, 5> entries{};  ///< by level from the top; behind the leaf they mean nothing
};

enum class EptOutcome : std::uint8_t { allowed, violation, misconfiguration };

struct EptVerdict {
    EptOutcome outcome = EptOutcome::allowed;
    std::uint32_t qualification = 0;
    unsigned stop_level = 0;  ///< where the walk ended
    std::uint64_t host = 0;   ///< where it is allowed
    unsigned memory_type = 0;
    std::array<std::uint64_t, 5> entries_after{};
};

[[nodiscard]] EptVerdict ept_oracle(const EptCase& question);
/// What walk_ept() answers differently, in words.
[[nodiscard]] std::optional<std::string> ept_difference(const EptCase& question);

}  // namespace penumbra::test
