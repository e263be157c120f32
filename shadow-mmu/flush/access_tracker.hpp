// Accesses in flight through a table's entries, so that an invalidation can wait for them (hazard pointers: M. Michael,
// IEEE TPDS 2004).
//
//   access                                   invalidation
//   slot = page        (seq_cst)             entry: present -> frozen   (seq_cst)
//   entry still present? (seq_cst)           any slot == page? wait until it changes
//
// At least one of the two sees the other.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <utility>

#include "base/assert.hpp"
#include "base/per_thread.hpp"
#include "base/planted.hpp"
#include "base/wait.hpp"
#include "notifier-bridge/invalidation.hpp"

namespace penumbra::mmu {

class AccessTracker {
public:
    /// Marks one page as being accessed while it lives.
    class Guard {
    public:
        Guard() = default;
        Guard(Guard&& other) noexcept : slot_(std::exchange(other.slot_, nullptr)) {}
        Guard& operator=(Guard&& other) noexcept {
            if (this != &other) {
                reset();
                slot_ = std::exchange(other.slot_, nullptr);
            }
            return *this;
        }
        ~Guard() { reset(); }
        void reset() {
            if (slot_ == nullptr) return;
            schedule_point(Step::entry_write, slot_);
            slot_->store(0, std::memory_order_seq_cst);
            if (!planted(Plant::access_wakes_nobody)) wake_all(*slot_);
            slot_ = nullptr;
        }

    private:
        friend class AccessTracker;
        explicit Guard(std::atomic<std::uint64_t>* slot) : slot_(slot) {}
        std::atomic<std::uint64_t>* slot_ = nullptr;
    };

    /// Announces an access. The caller must look at the entry afterwards, and touch the page only if it is still
    /// present.
    [[nodiscard]] Guard enter(Hvp page) {
        std::size_t& hint = per_thread<Hint>().slot;
        for (std::size_t i = 0; i < capacity; ++i) {
            const std::size_t at = (hint + i) % capacity;
            std::uint64_t free = 0;
            schedule_point(Step::entry_write, this);
            if (!slots_[at].page.compare_exchange_strong(free, page.value() + 1, std::memory_order_seq_cst)) continue;
            hint = at;
            return Guard{&slots_[at].page};
        }
        assertion_failed("free slot", __FILE__, __LINE__, "too many accesses in flight at once");
    }

    [[nodiscard]] bool busy(const bridge::RangeSet& ranges) const {
        schedule_point(Step::entry_read, this);
        for (const Slot& slot : slots_) {
            const std::uint64_t value = slot.page.load(std::memory_order_seq_cst);
            if (value != 0 && ranges.contains(Hvp{value - 1})) return true;
        }
        return false;
    }

    /// Waits for every access to the ranges that was announced before the call. Accesses are short: one page each.
    void drain(const bridge::RangeSet& ranges) const {
        schedule_point(Step::entry_read, this);
        for (const Slot& slot : slots_) {
            for (;;) {
                const std::uint64_t value = slot.page.load(std::memory_order_seq_cst);
                if (value == 0 || !ranges.contains(Hvp{value - 1})) break;
                wait_while(slot.page, value);
            }
        }
    }

private:
    static constexpr std::size_t capacity = 128;
    struct Hint {
        std::size_t slot = 0;  // where the thread found room last
    };
    struct alignas(64) Slot {
        std::atomic<std::uint64_t> page{0};  // page + 1; 0: free
    };
    std::array<Slot, capacity> slots_{};
};

}  // namespace penumbra::mmu
