#include "vmm/memory/cpu_follower.hpp"

#include <sched.h>

namespace penumbra::vmm {

void CpuFollower::saw(std::uint32_t cpu) {
    if (cpu == here_ || cpu >= CPU_SETSIZE) {
        seen_ = 0;
        return;
    }
    seen_ = cpu == candidate_ ? seen_ + 1 : 1;
    candidate_ = cpu;
    if (seen_ < row) return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (::sched_setaffinity(0, sizeof set, &set) == 0) here_ = cpu;  // refused: stay, and ask again after the next row
    seen_ = 0;
}

}  // namespace penumbra::vmm
