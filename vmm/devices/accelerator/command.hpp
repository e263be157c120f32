// The edge where the guest's ring and commands become typed: everything here was written by the guest.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>

#include "base/address.hpp"
#include "guest-images/common/machine_abi.hpp"
#include "shadow-mmu/table/memslots.hpp"

namespace penumbra::vmm {

/// A command ring that lies in RAM as a whole. A slot never crosses a page.
struct Ring {
    Gpa base{};
    std::uint64_t entries = 0;  ///< a power of two

    /// Where command number `count` lies.
    [[nodiscard]] Gpa slot(std::uint64_t count) const {
        return base + (count & (entries - 1)) * sizeof(abi::AccelCommand);
    }
};

/// nullopt: unaligned, of a wrong size, or not in RAM.
[[nodiscard]] std::optional<Ring> checked_ring(std::uint64_t gpa, std::uint64_t entries, const mmu::Memslots& memslots);

/// A command whose ranges are RAM, from the first byte to the last. Fields that its opcode does not use are zero.
struct Command {
    abi::AccelOpcode opcode = abi::AccelOpcode::nop;
    Gpa source{};
    Gpa target{};
    std::uint64_t bytes = 0;
    std::uint64_t pattern = 0;  ///< fill: byte i of the target is byte i % 8 of it
};

inline constexpr std::uint64_t max_command_bytes = 16ULL << 20;

/// bad_command: unknown opcode, a length of 0 or above the limit, a copy onto itself. bad_address: a range is not all
/// RAM.
[[nodiscard]] std::expected<Command, abi::AccelResult> checked_command(const abi::AccelCommand& command,
                                                                       const mmu::Memslots& memslots);

}  // namespace penumbra::vmm
