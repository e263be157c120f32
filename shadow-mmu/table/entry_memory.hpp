// How a table reads and changes one entry. Injected, so that a test can keep the write history of every entry.
#pragma once

#include <atomic>
#include <cstdint>

namespace penumbra::mmu {

/// Production memory: sequentially consistent, as the fault protocol of interval_subscription.hpp needs it.
struct AtomicEntryMemory {
    using Slot = std::atomic<std::uint64_t>;

    [[nodiscard]] static std::uint64_t load(const Slot& slot) { return slot.load(std::memory_order_seq_cst); }
    [[nodiscard]] static bool compare_exchange(Slot& slot, std::uint64_t expected, std::uint64_t desired) {
        return slot.compare_exchange_strong(expected, desired, std::memory_order_seq_cst);
    }
    /// Sleeps while the slot still holds `value`.
    static void wait(const Slot& slot, std::uint64_t value) { slot.wait(value, std::memory_order_seq_cst); }
    static void wake(Slot& slot) { slot.notify_all(); }
};

static_assert(sizeof(AtomicEntryMemory::Slot) == 8);

}  // namespace penumbra::mmu
