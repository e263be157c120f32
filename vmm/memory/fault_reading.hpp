// How the thread that reads faults waits for the next one.
#pragma once

#include <cstdint>

namespace penumbra::vmm {

enum class FaultReading : std::uint8_t {
    /// Asleep, on the CPU where faults happen: the sleeper and the one who answers it hand that CPU over to each other.
    follow,
    /// Awake for a few milliseconds after each fault, on another CPU. Wins only where leaving a guest for another
    /// thread costs
    /// more than two wake-ups: for user-mode guests without hardware virtualization (bench/fault_latency). It costs a
    /// CPU, so
    /// it rests while memory is being reclaimed.
    spin,
};

}  // namespace penumbra::vmm
