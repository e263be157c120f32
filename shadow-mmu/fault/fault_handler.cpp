#include "shadow-mmu/fault/fault_handler.hpp"

#include <sched.h>

namespace penumbra::mmu {

void open_install_race() {
    // Lets other threads run for a bounded while: long enough for an eviction pass, short enough for thousands of
    // faults.
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds{2};
    while (std::chrono::steady_clock::now() < until) ::sched_yield();
}

}  // namespace penumbra::mmu
