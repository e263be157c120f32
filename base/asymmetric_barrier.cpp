#include "base/asymmetric_barrier.hpp"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/assert.hpp"

namespace penumbra {

namespace {

long membarrier(int command) { return ::syscall(SYS_membarrier, command, 0U, 0); }

}  // namespace

const bool detail::has_membarrier = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;

void heavy_barrier() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!detail::has_membarrier) return;
    PENUMBRA_ASSERT(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0, "the kernel took its barriers back");
}

}  // namespace penumbra
