#include "shadow-mmu/flush/hold_times.hpp"

#include "base/wait.hpp"

namespace penumbra::mmu {

namespace {

std::int64_t nanoseconds_now() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(steady_now().time_since_epoch()).count();
}

}  // namespace

HoldTimes::Place HoldTimes::enter(std::uint64_t pages) {
    const std::uint32_t first = next_.fetch_add(1, std::memory_order_relaxed);
    for (std::uint32_t i = 0; i < capacity; ++i) {
        const std::uint32_t at = (first + i) % capacity;
        std::int64_t expected = free;
        if (!slots_[at].since.compare_exchange_strong(expected, claimed, std::memory_order_acquire)) continue;
        slots_[at].pages.store(pages, std::memory_order_relaxed);
        slots_[at].since.store(nanoseconds_now(), std::memory_order_release);
        return Place{at};
    }
    untimed_.add(pages);
    return Place::untimed;
}

void HoldTimes::leave(Place place, std::uint64_t pages) {
    if (place == Place::untimed) return untimed_.sub(pages);
    slots_[static_cast<std::uint32_t>(place)].since.store(free, std::memory_order_release);
}

std::uint64_t HoldTimes::pages_older_than(std::chrono::nanoseconds age) const {
    const std::int64_t latest = nanoseconds_now() - age.count();
    std::uint64_t pages = untimed_.get();
    for (const Slot& slot : slots_) {
        const std::int64_t since = slot.since.load(std::memory_order_acquire);
        if (since != free && since != claimed && since <= latest) pages += slot.pages.load(std::memory_order_relaxed);
    }
    return pages;
}

}  // namespace penumbra::mmu
