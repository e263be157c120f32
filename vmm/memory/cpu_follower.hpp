// Keeps the thread that answers faults on the CPU where they happen: waking a thread on another CPU costs several times
// what the answer itself costs.
#pragma once

#include <cstdint>

namespace penumbra::vmm {

/// Used by the thread that is to follow.
class CpuFollower {
public:
    /// A fault came from `cpu`. After a row of faults from one other CPU the calling thread moves there.
    void saw(std::uint32_t cpu);

private:
    static constexpr unsigned row = 8;  // a move costs about as much as eight distant wake-ups save
    std::uint32_t here_ = ~std::uint32_t{0};
    std::uint32_t candidate_ = ~std::uint32_t{0};
    unsigned seen_ = 0;
};

}  // namespace penumbra::vmm
