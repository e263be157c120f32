// Store, then load, against store, then load: at least one side sees the other. Where one side runs all the time and
// the other hardly ever, membarrier(2) lets the rare side pay for both (membarrier(2), "EXAMPLES"; liburcu's read
// side).
#pragma once

#include <atomic>

namespace penumbra {

namespace detail {
/// Whether the kernel gave this process private expedited barriers; settled before main.
extern const bool has_membarrier;
}  // namespace detail

/// The frequent side, between its store and its load: orders the compiler alone, where the kernel helps.
inline void light_barrier() {
    if (detail::has_membarrier) [[likely]] {
        std::atomic_signal_fence(std::memory_order_seq_cst);
    } else {
        std::atomic_thread_fence(std::memory_order_seq_cst);
    }
}
/// The rare side, between its store and its load: a system call that makes every running thread of the process pass a
/// full barrier.
void heavy_barrier();

}  // namespace penumbra
