// The edge where the guest's ring and commands become typed: everything here was written by the guest.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <variant>

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

/// Whether it is the address of a page of RAM.
[[nodiscard]] bool is_ram_page(std::uint64_t gpa, const mmu::Memslots& memslots);

/// Fields that the opcode does not use are zero.
template <class Address>
struct CommandOf {
    abi::AccelOpcode opcode = abi::AccelOpcode::nop;
    Address source{};
    Address target{};
    std::uint64_t bytes = 0;
    std::uint64_t pattern = 0;  ///< fill: byte i of the target is byte i % 8 of it
};

/// A command whose ranges are RAM, from the first byte to the last.
using Command = CommandOf<Gpa>;
/// One in a process's addresses, whose ranges do not wrap; whether they are canonical depends on the process.
struct ProcessCommand {
    CommandOf<Gva> command;
    std::uint32_t pasid = 0;
};
using CheckedCommand = std::variant<Command, ProcessCommand>;

inline constexpr std::uint64_t max_command_bytes = 16ULL << 20;

/// bad_command: unknown opcode or flag, a length of 0 (but for an invalidate) or above the limit, a copy onto itself.
/// bad_address: a range is not all RAM, or wraps.
[[nodiscard]] std::expected<CheckedCommand, abi::AccelResult> checked_command(const abi::AccelCommand& command,
                                                                              const mmu::Memslots& memslots);

}  // namespace penumbra::vmm
