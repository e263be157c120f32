#include "base/mutex.hpp"

#include <utility>

#include "base/planted.hpp"

namespace penumbra {

using detail::held_rank;

void Mutex::lock() {
    PENUMBRA_ASSERT(held_rank < rank_ || planted(Plant::rank_unchecked),
                    "lock taken out of rank order (docs/locking.md)");
#if defined(PENUMBRA_TEST_SWITCHES)
    if (Scheduler* simulated = scheduler()) {
        take(*simulated);
    } else
#endif
        mutex_.lock();
    outer_ = std::exchange(held_rank, rank_);
}

void Mutex::unlock() {
    PENUMBRA_ASSERT(held_rank == rank_, "lock released out of order");
    held_rank = outer_;
#if defined(PENUMBRA_TEST_SWITCHES)
    if (Scheduler* simulated = scheduler()) return give(*simulated);
#endif
    mutex_.unlock();
}

void CondVar::wait(Mutex& mutex) {
    const unsigned outer = mutex.outer_;
#if defined(PENUMBRA_TEST_SWITCHES)
    if (Scheduler* simulated = scheduler()) {
        (void)sleep(mutex, *simulated, Scheduler::never);
        mutex.outer_ = outer;
        return;
    }
#endif
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
    mutex.outer_ = outer;
}

bool CondVar::wait_until(Mutex& mutex, std::chrono::steady_clock::time_point deadline) {
    const unsigned outer = mutex.outer_;
#if defined(PENUMBRA_TEST_SWITCHES)
    if (Scheduler* simulated = scheduler()) {
        const bool woken = sleep(mutex, *simulated, deadline);
        mutex.outer_ = outer;
        return woken;
    }
#endif
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    const auto status = condition_.wait_until(lock, deadline);
    lock.release();
    mutex.outer_ = outer;
    return status == std::cv_status::no_timeout;
}

void CondVar::notify_one() {
#if defined(PENUMBRA_TEST_SWITCHES)
    if (Scheduler* simulated = scheduler()) return simulated->wake(this, Scheduler::Wake::one);
#endif
    condition_.notify_one();
}

void CondVar::notify_all() {
#if defined(PENUMBRA_TEST_SWITCHES)
    if (Scheduler* simulated = scheduler()) return simulated->wake(this, Scheduler::Wake::all);
#endif
    condition_.notify_all();
}

#if defined(PENUMBRA_TEST_SWITCHES)

void Mutex::take(Scheduler& scheduler) {
    scheduler.point(Step::lock, this);
    while (taken_) (void)scheduler.sleep(this, Scheduler::never);
    taken_ = true;
}

void Mutex::give(Scheduler& scheduler) {
    taken_ = false;
    scheduler.wake(this, Scheduler::Wake::all);
    scheduler.point(Step::unlock, this);
}

bool CondVar::sleep(Mutex& mutex, Scheduler& scheduler, Scheduler::Time deadline) {
    mutex.taken_ = false;
    scheduler.wake(&mutex, Scheduler::Wake::all);
    const bool woken = scheduler.sleep(this, deadline);
    mutex.take(scheduler);
    return woken;
}

#endif

}  // namespace penumbra
