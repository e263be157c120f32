#include "vmm/memory/cpu_follower.hpp"

#include <sched.h>

namespace penumbra::vmm {

CpuFollower::CpuFollower() {
    CPU_ZERO(&allowed_);
    (void)::sched_getaffinity(0, sizeof allowed_, &allowed_);
}

std::uint32_t CpuFollower::another_cpu(std::uint32_t cpu) const {
    for (std::uint32_t i = 1; i < CPU_SETSIZE; ++i) {
        const std::uint32_t candidate = (cpu + i) % CPU_SETSIZE;
        if (CPU_ISSET(candidate, &allowed_)) return candidate;
    }
    return cpu;
}

void CpuFollower::saw(std::uint32_t cpu, Distance distance) {
    if (cpu >= CPU_SETSIZE) return;
    std::uint32_t target = cpu;
    if (distance == Distance::other_cpu) target = here_ != cpu && here_ < CPU_SETSIZE ? here_ : another_cpu(cpu);
    if (target == here_) {
        seen_ = 0;
        return;
    }
    seen_ = target == candidate_ ? seen_ + 1 : 1;
    candidate_ = target;
    if (seen_ < row) return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(target, &set);
    if (::sched_setaffinity(0, sizeof set, &set) == 0)
        here_ = target;  // refused: stay, and ask again after the next row
    seen_ = 0;
}

}  // namespace penumbra::vmm
