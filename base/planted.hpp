// Switches that plant a known bug or hold a door open, so that a test can prove it would catch it. They exist only in
// builds with PENUMBRA_TEST_SWITCHES; elsewhere `planted()` is the constant false and the code behind it vanishes.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace penumbra {

enum class Plant : std::uint8_t {
    skip_ept_zap,           ///< EptTable takes a page out but leaves its entry present
    skip_device_zap,        ///< a device's table leaves an entry present across an invalidation
    skip_ept_flush,         ///< one run of a batch is accounted but not taken out of the window
    skip_device_flush,      ///< the device TLB keeps a translation its table dropped
    skip_sequence_recheck,  ///< a fault installs without looking at the sequence again
    delay_before_install,   ///< not a bug: widens the window between resolve and install
    drop_invalidate_end,    ///< one subscriber's end is not delivered
    corrupt_stored_page,    ///< one bit of a stored page flips
    full_disk,              ///< the file tier's writes answer ENOSPC
    short_read,             ///< the file tier's reads come back short
    dead_worker,            ///< a fault worker leaves its loop with a fault in hand
    hold_tier,              ///< not a bug: swap-in waits until the switch is cleared
    hold_page,              ///< not a bug: swap-in of one page waits; planted with 1 + the page's number
    skip_drain,             ///< start does not wait for accesses in flight
    skip_io_drain,          ///< IoTable's start does not wait for pages that are held
    count
};

#if defined(PENUMBRA_TEST_SWITCHES)

namespace detail {
/// How many more times each switch fires; -1 means always.
inline std::array<std::atomic<std::int64_t>, static_cast<std::size_t>(Plant::count)> plants{};
}  // namespace detail

/// True when the switch fires; counts one use down.
[[nodiscard]] inline bool planted(Plant plant) {
    auto& left = detail::plants[static_cast<std::size_t>(plant)];
    std::int64_t now = left.load(std::memory_order_acquire);
    while (now > 0 && !left.compare_exchange_weak(now, now - 1, std::memory_order_acq_rel)) {
    }
    return now != 0;
}
/// True when the switch was planted with 1 + `number`; counts nothing down.
[[nodiscard]] inline bool planted_for(Plant plant, std::uint64_t number) {
    const auto& value = detail::plants[static_cast<std::size_t>(plant)];
    return value.load(std::memory_order_acquire) == static_cast<std::int64_t>(number) + 1;
}
inline void plant(Plant plant, std::int64_t times) {
    detail::plants[static_cast<std::size_t>(plant)].store(times, std::memory_order_release);
}
/// Plants for the life of a scope.
class Planted {
public:
    explicit Planted(Plant which, std::int64_t times = -1) : which_(which) { plant(which_, times); }
    ~Planted() { plant(which_, 0); }
    Planted(const Planted&) = delete;
    Planted& operator=(const Planted&) = delete;

private:
    Plant which_;
};
inline constexpr bool test_switches = true;

#else

[[nodiscard]] constexpr bool planted(Plant) { return false; }
[[nodiscard]] constexpr bool planted_for(Plant, std::uint64_t) { return false; }
inline constexpr bool test_switches = false;

#endif

}  // namespace penumbra
