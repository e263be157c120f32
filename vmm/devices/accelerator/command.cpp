#include "vmm/devices/accelerator/command.hpp"

#include <bit>
#include <limits>

namespace penumbra::vmm {

namespace {

using abi::AccelOpcode;
using abi::AccelResult;

constexpr auto virtual_addresses = static_cast<std::uint32_t>(abi::AccelFlag::virtual_addresses);

/// `bytes` is positive.
bool wraps(std::uint64_t address, std::uint64_t bytes) {
    return address > std::numeric_limits<std::uint64_t>::max() - (bytes - 1);
}

/// `bytes` is positive. Slots may lie side by side, so a range may cross from one into the next.
bool in_ram(std::uint64_t gpa, std::uint64_t bytes, const mmu::Memslots& memslots) {
    if (wraps(gpa, bytes)) return false;
    const Gfn last = frame_of(Gpa{gpa + (bytes - 1)});
    Gfn gfn = frame_of(Gpa{gpa});
    while (gfn <= last) {
        const auto slot = std::ranges::find_if(memslots.slots(), [&](const auto& s) { return s.guest.contains(gfn); });
        if (slot == memslots.slots().end()) return false;
        gfn = slot->guest.end();
    }
    return true;
}

bool overlap(std::uint64_t a, std::uint64_t b, std::uint64_t bytes) { return (a > b ? a - b : b - a) < bytes; }

bool reads(AccelOpcode opcode) {
    return opcode == AccelOpcode::copy || opcode == AccelOpcode::crc32c || opcode == AccelOpcode::invalidate;
}
bool writes(AccelOpcode opcode) { return opcode == AccelOpcode::copy || opcode == AccelOpcode::fill; }

/// What no address space matters to.
bool is_sound(const abi::AccelCommand& command) {
    const auto opcode = static_cast<AccelOpcode>(command.opcode);
    if (!reads(opcode) && !writes(opcode)) return false;
    if (command.bytes > max_command_bytes) return false;
    if (command.bytes == 0 && opcode != AccelOpcode::invalidate) return false;
    return opcode != AccelOpcode::copy || !overlap(command.source, command.target, command.bytes);
}

template <class Address>
CommandOf<Address> typed(const abi::AccelCommand& command) {
    const auto opcode = static_cast<AccelOpcode>(command.opcode);
    return {opcode, Address{reads(opcode) ? command.source : 0}, Address{writes(opcode) ? command.target : 0},
            command.bytes, reads(opcode) ? 0 : command.source};
}

}  // namespace

std::optional<Ring> checked_ring(std::uint64_t gpa, std::uint64_t entries, const mmu::Memslots& memslots) {
    constexpr std::uint64_t min_entries = 2;
    constexpr std::uint64_t max_entries = 1024;
    if (entries < min_entries || entries > max_entries || !std::has_single_bit(entries)) return std::nullopt;
    if (!is_page_aligned(Gpa{gpa}) || !in_ram(gpa, entries * sizeof(abi::AccelCommand), memslots)) return std::nullopt;
    return Ring{Gpa{gpa}, entries};
}

bool is_ram_page(std::uint64_t gpa, const mmu::Memslots& memslots) {
    return is_page_aligned(Gpa{gpa}) && in_ram(gpa, page_bytes, memslots);
}

std::expected<CheckedCommand, AccelResult> checked_command(const abi::AccelCommand& command,
                                                           const mmu::Memslots& memslots) {
    const auto opcode = static_cast<AccelOpcode>(command.opcode);
    if ((command.flags & ~virtual_addresses) != 0) return std::unexpected{AccelResult::bad_command};
    if (opcode == AccelOpcode::nop) return Command{};
    if (!is_sound(command)) return std::unexpected{AccelResult::bad_command};
    const bool of_process = (command.flags & virtual_addresses) != 0 || opcode == AccelOpcode::invalidate;
    const auto is_good = [&](std::uint64_t address) {
        if (of_process) return command.bytes == 0 || !wraps(address, command.bytes);
        return in_ram(address, command.bytes, memslots);
    };
    if (reads(opcode) && !is_good(command.source)) return std::unexpected{AccelResult::bad_address};
    if (writes(opcode) && !is_good(command.target)) return std::unexpected{AccelResult::bad_address};
    if (of_process) return ProcessCommand{typed<Gva>(command), command.pasid};
    return typed<Gpa>(command);
}

}  // namespace penumbra::vmm
