// The memory of one side of the benchmark `paging`: a VM's RAM, paged by the kernel or by Penumbra.
#pragma once

#include <cstdint>
#include <memory>

#include "bench/common/paging_patterns.hpp"
#include "vmm/boot/address_layout.hpp"
#include "vmm/devices/guest_memory.hpp"
#include "vmm/memory/fault_reading.hpp"

namespace penumbra::bench {

/// Where page 0 of what is touched lies; before it are the guest's code and tables.
inline constexpr Gpa paging_first{0x20'0000};
inline constexpr std::uint64_t paging_ram_bytes = paging_first.value() + paging_pages * page_bytes;

/// Totals since the start.
struct PagingCounts {
    std::uint64_t faults = 0;      ///< pages that somebody waited for
    std::uint64_t swap_ins = 0;    ///< pages unpacked
    std::uint64_t rescued = 0;     ///< pages that came back before they were packed
    std::uint64_t prefetched = 0;  ///< of both, pages that nobody had asked for yet
};

/// Where pages are now, as Penumbra tells it.
struct PagingPlaces {
    std::uint64_t resident_pages = 0;  ///< in the window, or about to be packed
    std::uint64_t pool_bytes = 0;
};

class PagingMemory {
public:
    virtual ~PagingMemory() = default;
    [[nodiscard]] virtual vmm::GuestMemory& guest_memory() = 0;
    [[nodiscard]] virtual const vmm::AddressLayout& layout() const = 0;
    /// What the layout's pages are.
    [[nodiscard]] virtual HvpRange window() const = 0;
    /// The kernel's swap-ins are not the process's to know: 0.
    [[nodiscard]] virtual PagingCounts counts() const = 0;
    /// Empty for the kernel's memory.
    [[nodiscard]] virtual PagingPlaces places() const { return {}; }

    /// Every page of what is touched: real data, with its stamp in the first word.
    [[nodiscard]] Result<> fill();
};

/// Ordinary anonymous memory.
[[nodiscard]] Result<std::unique_ptr<PagingMemory>> kernel_memory();
/// A MemorySystem with a compressed tier and nothing behind it.
[[nodiscard]] Result<std::unique_ptr<PagingMemory>> penumbra_memory(std::uint64_t budget_bytes,
                                                                    vmm::FaultReading reading);

}  // namespace penumbra::bench
