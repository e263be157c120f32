#include "base/mutex.hpp"

#include <utility>

namespace penumbra {

namespace {
thread_local unsigned held_rank = 0;
}

unsigned highest_rank_held() { return held_rank; }

void Mutex::lock() {
    PENUMBRA_ASSERT(held_rank < rank_, "lock taken out of rank order (docs/locking.md)");
    mutex_.lock();
    outer_ = std::exchange(held_rank, rank_);
}

void Mutex::unlock() {
    PENUMBRA_ASSERT(held_rank == rank_, "lock released out of order");
    held_rank = outer_;
    mutex_.unlock();
}

void CondVar::wait(Mutex& mutex) {
    const unsigned outer = mutex.outer_;
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
    mutex.outer_ = outer;
}

bool CondVar::wait_until(Mutex& mutex, std::chrono::steady_clock::time_point deadline) {
    const unsigned outer = mutex.outer_;
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    const auto status = condition_.wait_until(lock, deadline);
    lock.release();
    mutex.outer_ = outer;
    return status == std::cv_status::no_timeout;
}

}  // namespace penumbra
