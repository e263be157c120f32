// Orders for the touch image: random pages, and how long the guest says each took.
#pragma once

#include <atomic>
#include <random>

#include "base/counters.hpp"
#include "base/mutex.hpp"
#include "vmm/boot/address_layout.hpp"
#include "vmm/devices/guest_port.hpp"

namespace penumbra::vmm {

class RandomTouches final : public TouchSource {
public:
    /// Touches pages at or after `first`; stops after `most`, or when finish() is called.
    RandomTouches(const AddressLayout& layout, Gpa first, std::uint64_t seed, std::uint64_t most,
                  std::uint64_t tsc_khz);

    [[nodiscard]] std::optional<Touch> next(std::uint32_t cpu) override;
    void touched(std::uint32_t cpu, std::uint64_t tsc_ticks) override;

    void finish() { finished_.store(true, std::memory_order_release); }
    [[nodiscard]] const LatencyHistogram& latency() const { return latency_; }
    [[nodiscard]] std::uint64_t given() const { return given_.get(); }
    [[nodiscard]] std::uint64_t most() const { return most_; }

private:
    const AddressLayout& layout_;
    const std::uint64_t first_page_;
    const std::uint64_t most_;
    const std::uint64_t tsc_khz_;
    std::atomic<bool> finished_{false};
    LatencyHistogram latency_;
    Counter given_;
    Mutex mutex_{LockRank::leaf};
    std::mt19937_64 random_ GUARDED_BY(mutex_);
};

}  // namespace penumbra::vmm
