// The one mutex. Every lock has a rank from docs/locking.md; a thread may only take locks of rising rank, and that is
// checked in every build (a thread-local compare, a few nanoseconds).
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "base/assert.hpp"
#include "base/schedule_point.hpp"
#include "base/thread_annotations.hpp"

namespace penumbra {

/// Lock order, outermost first. docs/locking.md says what each protects.
enum class LockRank : unsigned {
    devices = 5,
    machine = 10,
    pci = 15,
    virtio = 20,
    fault_queue = 25,
    reclaim = 30,
    accelerator = 40,
    page_requests = 45,
    dma = 46,
    dma_inbox = 47,
    bridge = 50,
    table = 60,
    limbo = 70,
    tier = 80,
    file_io = 85,
    budget = 90,
    report = 95,
    leaf = 100,
    hold = 110,
};

namespace detail {
inline thread_local constinit unsigned held_rank = 0;
}

/// Highest rank the calling thread holds, or 0. Used to prove that no lock is held across a fault or a callback.
[[nodiscard]] inline unsigned highest_rank_held() { return detail::held_rank; }

class CAPABILITY("mutex") Mutex {
public:
    explicit Mutex(LockRank rank) : rank_(static_cast<unsigned>(rank)) {}
    Mutex(const Mutex&) = delete;
    Mutex& operator=(const Mutex&) = delete;

    void lock() ACQUIRE();
    void unlock() RELEASE();

private:
    friend class CondVar;
    std::mutex mutex_;
    const unsigned rank_;
    unsigned outer_ = 0;  // rank held by the owner before this lock
#if defined(PENUMBRA_TEST_SWITCHES)
    void take(Scheduler& scheduler);
    void give(Scheduler& scheduler);
    bool taken_ = false;  // by a thread of a simulation
#endif
};

class SCOPED_CAPABILITY MutexLock {
public:
    explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
    ~MutexLock() RELEASE() { mutex_.unlock(); }
    MutexLock(const MutexLock&) = delete;
    MutexLock& operator=(const MutexLock&) = delete;

private:
    Mutex& mutex_;
};

/// Condition variable over Mutex. Waits are loops written by the caller, so that the analysis sees the guarded reads.
class CondVar {
public:
    void wait(Mutex& mutex) REQUIRES(mutex);
    /// False when the deadline passed first.
    bool wait_until(Mutex& mutex, std::chrono::steady_clock::time_point deadline) REQUIRES(mutex);
    void notify_one();
    void notify_all();

private:
#if defined(PENUMBRA_TEST_SWITCHES)
    bool sleep(Mutex& mutex, Scheduler& scheduler, Scheduler::Time deadline);
#endif
    std::condition_variable condition_;
};

}  // namespace penumbra
