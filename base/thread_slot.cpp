#include "base/thread_slot.hpp"

#include <atomic>
#include <bit>
#include <cstdint>

namespace penumbra::detail {

namespace {

constinit std::atomic<std::uint32_t> taken{0};
static_assert(own_thread_slots < 32);

/// The number goes back after the thread's last use: what it wrote there happens before its next owner's reads.
struct SlotOwner {
    unsigned slot = own_thread_slots;

    SlotOwner() {
        std::uint32_t seen = taken.load(std::memory_order_acquire);
        for (;;) {
            const auto free = static_cast<unsigned>(std::countr_one(seen));
            if (free >= own_thread_slots) return;
            if (!taken.compare_exchange_weak(seen, seen | (1U << free), std::memory_order_acq_rel)) continue;
            slot = free;
            return;
        }
    }
    ~SlotOwner() {
        thread_slot_plus_one = own_thread_slots + 1;  // destructors that run later share
        if (slot != own_thread_slots) taken.fetch_and(~(1U << slot), std::memory_order_acq_rel);
    }
};

}  // namespace

unsigned take_thread_slot() {
    thread_local const SlotOwner owner;
    // A destructor of this thread that runs after the owner's finds the shared number and does not come here.
    thread_slot_plus_one = owner.slot + 1;
    return owner.slot;
}

}  // namespace penumbra::detail
