#include "vmm/devices/accelerator/command.hpp"

#include <bit>
#include <limits>

namespace penumbra::vmm {

namespace {

using abi::AccelOpcode;
using abi::AccelResult;

/// `bytes` is positive. Slots may lie side by side, so a range may cross from one into the next.
bool in_ram(std::uint64_t gpa, std::uint64_t bytes, const mmu::Memslots& memslots) {
    if (gpa > std::numeric_limits<std::uint64_t>::max() - (bytes - 1)) return false;
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

}  // namespace

std::optional<Ring> checked_ring(std::uint64_t gpa, std::uint64_t entries, const mmu::Memslots& memslots) {
    constexpr std::uint64_t min_entries = 2;
    constexpr std::uint64_t max_entries = 1024;
    if (entries < min_entries || entries > max_entries || !std::has_single_bit(entries)) return std::nullopt;
    if (!is_page_aligned(Gpa{gpa}) || !in_ram(gpa, entries * sizeof(abi::AccelCommand), memslots)) return std::nullopt;
    return Ring{Gpa{gpa}, entries};
}

std::expected<Command, AccelResult> checked_command(const abi::AccelCommand& command, const mmu::Memslots& memslots) {
    const auto opcode = static_cast<AccelOpcode>(command.opcode);
    if (opcode == AccelOpcode::nop) return Command{};
    const bool reads = opcode == AccelOpcode::copy || opcode == AccelOpcode::crc32c;
    const bool writes = opcode == AccelOpcode::copy || opcode == AccelOpcode::fill;
    if (!reads && !writes) return std::unexpected{AccelResult::bad_command};
    if (command.bytes == 0 || command.bytes > max_command_bytes) return std::unexpected{AccelResult::bad_command};
    if (reads && !in_ram(command.source, command.bytes, memslots)) return std::unexpected{AccelResult::bad_address};
    if (writes && !in_ram(command.target, command.bytes, memslots)) return std::unexpected{AccelResult::bad_address};
    if (reads && writes && overlap(command.source, command.target, command.bytes)) {
        return std::unexpected{AccelResult::bad_command};
    }
    return Command{opcode, Gpa{reads ? command.source : 0}, Gpa{writes ? command.target : 0}, command.bytes,
                   reads ? 0 : command.source};
}

}  // namespace penumbra::vmm
