// The threads that answer faults on guest memory. One reads messages in batches and does the microsecond work (limbo,
// zero, LZ4) itself, without a hand-over; what needs a slow medium, or brings many pages along, goes to a pool of
// workers over a bounded queue, so that nothing quick ever waits behind it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "base/mapped_region.hpp"
#include "base/mutex.hpp"
#include "base/thread.hpp"
#include "notifier-bridge/source/userfaultfd_source.hpp"
#include "shadow-mmu/tables/ept_table.hpp"
#include "vmm/memory/cpu_follower.hpp"
#include "vmm/memory/fault_reading.hpp"
#include "vmm/memory/pagemap.hpp"
#include "vmm/memory/pager.hpp"
#include "vmm/memory/prefetch.hpp"

namespace penumbra::vmm {

enum class StalePolicy : std::uint8_t { count, fatal };

struct FaultWorkersOptions {
    unsigned pool = 4;
    FaultReading reading = FaultReading::follow;
    /// One page registered with the userfaultfd and never touched by anybody else: touching it wakes the reader.
    MappedRegion doorbell;
    StalePolicy stale = StalePolicy::count;
    /// Called on a worker's thread when a page cannot be supplied; the fault stays parked until resume().
    std::function<void(const Error&)> on_error;
    /// Called after a thread's fault was answered, with its id; on a worker's thread, must be quick.
    std::function<void(pid_t)> on_served;
    /// Called for each write that sleeps on a protected page of the window, on a thread of its own: on return the page
    /// is not protected, unless it is being taken out. May wait for devices' accesses, but for no fault, invalidation
    /// or guest. Then such writes are legal whoever writes. Empty: nothing is protected but what is being taken out.
    std::function<void(Gfn)> on_guest_write;
    /// Stale-fault counters of the tables that devices' threads go through: the accelerator's, and the loops'.
    Counter* device_stale = nullptr;
    Counter* io_stale = nullptr;
};

class FaultWorkers {
public:
    FaultWorkers(bridge::Userfaultfd& uffd, mmu::EptTable& ept, Pager& pager, PagerState& state, Pagemap pagemap,
                 FaultWorkersOptions options);
    ~FaultWorkers() { stop(); }
    FaultWorkers(const FaultWorkers&) = delete;
    FaultWorkers& operator=(const FaultWorkers&) = delete;

    /// Ends serving; idempotent. A thread that sleeps in a fault sleeps on until the window is unregistered.
    void stop() EXCLUDES(mutex_);
    /// Changes how the reader waits, from its next fault on.
    void set_reading(FaultReading reading) { reading_.store(reading, std::memory_order_relaxed); }
    /// Makes every parked fault happen again.
    void resume() EXCLUDES(mutex_);
    /// A fault of that thread is being answered, queued or parked: it sleeps in the kernel until it is answered.
    /// on_served follows every `true`, so that a caller who notes its wish first and asks then misses nothing.
    [[nodiscard]] bool is_waiting(pid_t thread) const EXCLUDES(mutex_);

private:
    using Clock = std::chrono::steady_clock;
    struct Pending {
        bridge::Fault fault;
        Clock::time_point read_at;
        PrefetchPlan plan;
    };

    void run_reader();
    void read_faults();
    using FaultBuffer = std::array<bridge::Fault, bridge::UserfaultfdSource::batch>;
    [[nodiscard]] Result<std::span<bridge::Fault>> next_faults(FaultBuffer& buffer);
    [[nodiscard]] bool may_spin() const;
    void run_pool();
    // fault_writes.cpp
    void run_writes();
    [[nodiscard]] bool is_told(const bridge::Fault& fault) const;
    void serve_write(const Pending& pending);
    void take(std::span<const bridge::Fault> faults);
    enum class Line : std::uint8_t { pool, writes };
    void hand_over(std::span<const Pending> faults, Line line = Line::pool) EXCLUDES(mutex_);
    [[nodiscard]] bool is_quick(Hvp page) const;
    void park(const bridge::Fault& fault) EXCLUDES(mutex_);
    void bring_along(const Pending& pending);
    /// The reader waits for next to nothing: a writer whose message it would not read meanwhile may be what an
    /// invalidation, and with it a fault, waits for.
    enum class Patience : std::uint8_t { reader, pool };
    /// False: not served, since the reader would have to wait.
    [[nodiscard]] bool serve(const Pending& pending, Patience patience);
    void finish(const bridge::Fault& fault) EXCLUDES(mutex_);
    void note_stale(const bridge::Fault& fault);
    [[nodiscard]] Counter& stale_counter(const bridge::Fault& fault);
    void check_spurious(const bridge::Fault& fault, Gfn gfn);

    static constexpr std::size_t queue_limit = 4096;

    bridge::Userfaultfd& uffd_;
    mmu::EptTable& ept_;
    Pager& pager_;
    PagerState& state_;
    Pagemap pagemap_;
    FaultWorkersOptions options_;
    bridge::UserfaultfdSource source_;
    std::atomic<bool> stop_{false};
    mutable Mutex mutex_{LockRank::fault_queue};
    CondVar queued_;
    std::deque<Pending> queue_ GUARDED_BY(mutex_);
    CondVar writes_queued_;
    std::deque<Pending> writes_ GUARDED_BY(mutex_);
    std::vector<bridge::Fault> waiting_ GUARDED_BY(mutex_);  // on slow workers, or parked
    std::vector<bridge::Fault> parked_ GUARDED_BY(mutex_);
    std::atomic<pid_t> in_hand_{0};  // whose fault the reader serves now
    std::atomic<FaultReading> reading_;
    bool awake_ = false;  // the reader spins; its own, as are:
    StridePredictor predictor_;
    CpuFollower follower_;
    std::vector<Thread> threads_;
};

}  // namespace penumbra::vmm
