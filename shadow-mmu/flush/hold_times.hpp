// Since when pages are held for the kernel's I/O: the list behind "how much memory could not leave for long".
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "base/counters.hpp"

namespace penumbra::mmu {

/// Thread-safe and lock-free. Bounded: what does not fit is not timed, and counts as long.
class HoldTimes {
public:
    using Clock = std::chrono::steady_clock;
    static constexpr std::size_t capacity = 2048;

    /// Where a hold was entered; give it back to leave().
    enum class Place : std::uint32_t { untimed = ~std::uint32_t{0} };

    [[nodiscard]] Place enter(std::uint64_t pages);
    void leave(Place place, std::uint64_t pages);
    /// Pages whose hold is at least that old now. A page that is held twice counts twice.
    [[nodiscard]] std::uint64_t pages_older_than(std::chrono::nanoseconds age) const;

private:
    // `since` is claimed first, and set last.
    static constexpr std::int64_t free = 0;
    static constexpr std::int64_t claimed = 1;
    struct Slot {
        std::atomic<std::int64_t> since{free};
        std::atomic<std::uint64_t> pages{0};
    };

    std::array<Slot, capacity> slots_;
    std::atomic<std::uint32_t> next_{0};
    Counter untimed_;
};

}  // namespace penumbra::mmu
