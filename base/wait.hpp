// Sleeping on a word, and the time: as std::atomic and std::chrono do it, but for threads of a simulation.
#pragma once

#include <atomic>
#include <chrono>

#include "base/schedule_point.hpp"

namespace penumbra {

/// Sleeps while `word` holds `value`; sequentially consistent.
template <class T>
void wait_while(const std::atomic<T>& word, T value) {
    if (!schedule_wait(word, value)) word.wait(value, std::memory_order_seq_cst);
}
/// After a change of `word`: wakes everybody who sleeps on it.
template <class T>
void wake_all(std::atomic<T>& word) {
    schedule_wake(word);
    word.notify_all();
}

[[nodiscard]] inline std::chrono::steady_clock::time_point steady_now() {
#if defined(PENUMBRA_TEST_SWITCHES)
    if (const Scheduler* simulated = scheduler()) return simulated->now();
#endif
    return std::chrono::steady_clock::now();
}

}  // namespace penumbra
