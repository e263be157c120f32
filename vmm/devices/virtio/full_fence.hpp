// The barrier between "I stored mine" and "let me see yours", which both sides of a virtqueue need (Virtual I/O Device
// 1.2, 2.7.7 and 2.7.10).
#pragma once

#include <atomic>

namespace penumbra::vmm {

/// No load after it is done before a store ahead of it is visible to every CPU, the guest's too.
inline void full_fence() {
#if defined(__SANITIZE_THREAD__)
    // ThreadSanitizer knows no fences. An exchange is the same instruction on this machine.
    std::atomic<int> here{0};
    (void)here.exchange(1, std::memory_order_seq_cst);
#else
    std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

}  // namespace penumbra::vmm
