// A guest process that the accelerator of an AcceleratorMachine works for: page tables, PASID entry, page requests.
#pragma once

#include <cstdint>
#include <optional>

#include "shadow-mmu/guest_walk/guest_entry.hpp"
#include "tests/support/accelerator_machine.hpp"

namespace penumbra::test {

/// Where a machine with processes has what; the ring is the page before. Tables lie from `first_table` on.
inline constexpr Gfn pasid_table = AcceleratorMachine::low_first + 1;
inline constexpr Gfn request_queue = AcceleratorMachine::low_first + 2;
inline constexpr Gfn first_table = AcceleratorMachine::low_first + 4;
inline constexpr Gfn first_data = AcceleratorMachine::high_first;
inline constexpr std::uint64_t process_ring_entries = page_bytes / sizeof(abi::AccelCommand);

enum class RequestQueue : std::uint8_t { none, present };
/// Sets the registers and enables the device.
void enable_processes(AcceleratorMachine& machine, RequestQueue queue);

/// The newest request when it has that number; nullopt when it has not come in ten seconds.
[[nodiscard]] std::optional<abi::AccelPageRequest> wait_for_request(AcceleratorMachine& machine, std::uint64_t number);
/// One look.
[[nodiscard]] std::optional<abi::AccelPageRequest> find_request(AcceleratorMachine& machine, std::uint64_t number);
enum class Served : std::uint64_t { yes = 0, no = 1 };
void respond(AcceleratorMachine& machine, std::uint64_t number, Served served);

void set_pasid_entry(AcceleratorMachine& machine, std::uint32_t pasid, const abi::PasidEntry& entry);

/// Bits of an entry that permits everything, accessed and, as leaf, dirty.
inline constexpr std::uint64_t all_rights = mmu::guest_entry::present | mmu::guest_entry::writable |
                                            mmu::guest_entry::user | mmu::guest_entry::accessed |
                                            mmu::guest_entry::dirty;

class AcceleratorProcess {
public:
    /// Takes pages for tables from `tables` on, zeroes all; the first is the root.
    AcceleratorProcess(AcceleratorMachine& machine, std::uint32_t pasid, Gfn tables, Level top = Level::top_4);

    /// Makes the PASID's entry name this process; `flags` are PasidFlag bits besides `present` and `five_levels`.
    void enter(std::uint64_t flags = 0) const;
    /// Maps by a small page; tables that are missing are made.
    void map(Gva at, Gfn page, std::uint64_t bits = all_rights);
    void unmap(Gva at) { machine_.store(entry(at, Level::page_4k), 0); }
    /// Where the entry of that level lies; the tables above are there.
    [[nodiscard]] Gpa entry(Gva at, Level level);
    [[nodiscard]] Gfn root() const { return root_; }
    [[nodiscard]] std::uint32_t pasid() const { return pasid_; }

    [[nodiscard]] abi::AccelCommand command(abi::AccelOpcode opcode, std::uint64_t source, std::uint64_t target,
                                            std::uint64_t bytes) const;
    [[nodiscard]] abi::AccelCommand sum(Gva from, std::uint64_t bytes) const {
        return command(abi::AccelOpcode::crc32c, from.value(), 0, bytes);
    }
    [[nodiscard]] abi::AccelCommand fill(Gva to, std::uint64_t bytes, std::uint64_t pattern) const {
        return command(abi::AccelOpcode::fill, pattern, to.value(), bytes);
    }
    [[nodiscard]] abi::AccelCommand copy(Gva from, Gva to, std::uint64_t bytes) const {
        return command(abi::AccelOpcode::copy, from.value(), to.value(), bytes);
    }
    [[nodiscard]] abi::AccelCommand invalidate(Gva from, std::uint64_t bytes) const {
        return command(abi::AccelOpcode::invalidate, from.value(), 0, bytes);
    }

private:
    AcceleratorMachine& machine_;
    const std::uint32_t pasid_;
    const Level top_;
    const Gfn root_;
    Gfn next_;
};

[[nodiscard]] inline abi::AccelResult result_of(const std::optional<abi::AccelCommand>& slot) {
    return slot ? static_cast<abi::AccelResult>(slot->result) : abi::AccelResult::pending;
}

/// A page of bytes that follow from the seed, stored in the machine's page.
[[nodiscard]] std::vector<std::byte> page_of(std::uint64_t seed);
void store_page(AcceleratorMachine& machine, Gfn page, std::uint64_t seed);
[[nodiscard]] std::vector<std::byte> load_page(AcceleratorMachine& machine, Gfn page);
[[nodiscard]] std::uint32_t sum_of(std::span<const std::byte> bytes);

}  // namespace penumbra::test
