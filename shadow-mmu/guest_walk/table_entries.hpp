// How a walk reaches the entries of tables that somebody else owns and changes: the guest, in memory that may be
// swapped out, missing or a device.
#pragma once

#include <cstdint>
#include <expected>

#include "base/address.hpp"

namespace penumbra::mmu {

/// Why there is no entry to read.
enum class EntryProblem : std::uint8_t {
    absent,   ///< RAM, but its page is not resident: request it, then walk again
    not_ram,  ///< no memory, or a device
};

enum class EntryExchange : std::uint8_t {
    done,
    changed,    ///< the entry no longer held the expected value; nothing was written
    read_only,  ///< memory that the guest may not write: the entry stays as it is, and the walk does without
    absent,
    not_ram,
};

/// Entries of 8 bytes at naturally aligned addresses. Implementations access them atomically (other processors write
/// them meanwhile), never fault and never block: what is not there is answered `absent`.
template <class Address>
class TableEntries {
public:
    TableEntries() = default;
    TableEntries(const TableEntries&) = delete;
    TableEntries& operator=(const TableEntries&) = delete;
    virtual ~TableEntries() = default;

    [[nodiscard]] virtual std::expected<std::uint64_t, EntryProblem> read(Address entry) = 0;
    /// Sequentially consistent where it is done.
    [[nodiscard]] virtual EntryExchange compare_exchange(Address entry, std::uint64_t expected,
                                                         std::uint64_t desired) = 0;
};

using GuestEntries = TableEntries<Gpa>;

}  // namespace penumbra::mmu
