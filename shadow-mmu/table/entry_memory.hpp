// How a table reads and changes one entry. Injected, so that a test can keep the write history of every entry.
//
// Which order each access needs (docs/locking.md, "Atomics"):
//   load           acquire. Walks that only translate: a table entry read here makes the node's content visible; a leaf
//                  may be out of date by the time it is used, whatever the order
//   load_ordered   sequentially consistent. "Entry still present?" after announcing an access, and the walks of a start
//                  after holding off: each is the second half of a store-then-load pair, against a compare_exchange
//   compare_exchange  sequentially consistent. Claim and freeze are the first halves of such pairs; linking a table is
//                  one too, since a start that does not see the link does not look at the claim below it
//   store          release. Only by an entry's owner (busy, frozen), so that nobody else writes meanwhile. No pair has
//                  a publish, give-back, thaw or clear as a half: until it is seen the entry looks owned, which is
//                  never wrong
#pragma once

#include <atomic>
#include <cstdint>

#include "base/asymmetric_barrier.hpp"
#include "base/schedule_point.hpp"

namespace penumbra::mmu {

namespace entry_detail {
/// Threads that sleep on an entry of any table; hardly ever written.
struct alignas(64) EntrySleepers {
    std::atomic<std::uint32_t> count{0};
};
inline constinit EntrySleepers entry_sleepers;
}  // namespace entry_detail

/// Production memory.
struct AtomicEntryMemory {
    using Slot = std::atomic<std::uint64_t>;

    [[nodiscard]] static std::uint64_t load(const Slot& slot) {
        schedule_point(Step::entry_read, &slot);
        return slot.load(std::memory_order_acquire);
    }
    [[nodiscard]] static std::uint64_t load_ordered(const Slot& slot) {
        schedule_point(Step::entry_read, &slot);
        return slot.load(std::memory_order_seq_cst);
    }
    [[nodiscard]] static bool compare_exchange(Slot& slot, std::uint64_t expected, std::uint64_t desired) {
        schedule_point(Step::entry_write, &slot);
        return slot.compare_exchange_strong(expected, desired, std::memory_order_seq_cst);
    }
    /// `from` is what the owner knows the slot to hold.
    static void store(Slot& slot, [[maybe_unused]] std::uint64_t from, std::uint64_t to) {
        schedule_point(Step::entry_write, &slot);
        slot.store(to, std::memory_order_release);
    }
    /// Of a node that nobody can reach.
    static void reset(Slot& slot) { slot.store(0, std::memory_order_relaxed); }

    /// Sleeps while the slot still holds `value`. The slot may have become another table's meanwhile, for nodes are
    /// recycled: then the sleep ends with what happens there, and the caller walks again in any case.
    static void wait(const Slot& slot, std::uint64_t value) {
        if (schedule_wait(slot, value)) return;
        entry_detail::entry_sleepers.count.fetch_add(1, std::memory_order_seq_cst);
        heavy_barrier();
        slot.wait(value, std::memory_order_seq_cst);
        entry_detail::entry_sleepers.count.fetch_sub(1, std::memory_order_relaxed);
    }
    /// After a change of any slot: whether somebody may be asleep on it, so that it has to be woken. Nearly free: the
    /// sleeper's barrier orders the change against the look at the count.
    [[nodiscard]] static bool may_sleep() {
#if defined(PENUMBRA_TEST_SWITCHES)
        if (scheduler() != nullptr) return true;
#endif
        light_barrier();
        return entry_detail::entry_sleepers.count.load(std::memory_order_relaxed) != 0;
    }
    /// After a change of the slot.
    static void wake(Slot& slot) {
        schedule_wake(slot);
        if (may_sleep()) [[unlikely]]
            slot.notify_all();
    }
};

static_assert(sizeof(AtomicEntryMemory::Slot) == 8);

}  // namespace penumbra::mmu
