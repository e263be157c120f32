// Keeps the thread that answers faults on the CPU where they happen: waking a thread on another CPU costs several times
// what the answer itself costs.
#pragma once

#include <sched.h>

#include <cstdint>

namespace penumbra::vmm {

/// Used by the thread that is to follow.
class CpuFollower {
public:
    /// Remembers the calling thread's CPUs as those that may be chosen.
    CpuFollower();

    enum class Distance : std::uint8_t { same_cpu, other_cpu };

    /// A fault came from `cpu`. After a row of faults from one CPU the calling thread moves there, or off it.
    void saw(std::uint32_t cpu, Distance distance);

private:
    [[nodiscard]] std::uint32_t another_cpu(std::uint32_t cpu) const;

    static constexpr unsigned row = 8;  // a move costs about as much as eight distant wake-ups save
    std::uint32_t here_ = ~std::uint32_t{0};
    std::uint32_t candidate_ = ~std::uint32_t{0};
    unsigned seen_ = 0;
    cpu_set_t allowed_;
};

}  // namespace penumbra::vmm
