// The device's page-request queue: what the engine misses is brought in by a few worker threads, while the engine waits
// or, for pages asked for ahead, works on.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <unordered_set>
#include <vector>

#include "base/counters.hpp"
#include "base/mutex.hpp"
#include "base/thread.hpp"
#include "shadow-mmu/fault/window_source.hpp"
#include "shadow-mmu/tables/device_table.hpp"

namespace penumbra::vmm {

struct PageRequest {
    Gfn gfn;
    mmu::FaultAccess access;
};

enum class PageAnswer : std::uint8_t {
    look_again,   ///< it was brought in; it may have left since
    not_ram,      ///< no RAM there
    denied,       ///< the table was released: no page ever again
    interrupted,  ///< interrupt() or stop() came first
};

/// post() and fetch() belong to the engine's thread; the rest to any thread. A request that fails is kept, `on_error`
/// is told once, on a worker with no lock held, and no request is served until resume().
class PageRequests {
public:
    static constexpr std::size_t capacity = 256;

    PageRequests(mmu::DeviceTable& table, mmu::WindowSource& source, unsigned workers,
                 std::function<void(const Error&)> on_error);
    PageRequests(const PageRequests&) = delete;
    PageRequests& operator=(const PageRequests&) = delete;
    ~PageRequests() { stop(); }

    /// Asks for pages without waiting. What is asked for already, or does not fit the queue, is left out.
    void post(std::span<const PageRequest> requests) EXCLUDES(mutex_);
    /// Asks for a page, before all others, and waits for the answer.
    [[nodiscard]] PageAnswer fetch(PageRequest request) EXCLUDES(mutex_);

    /// Serves on after an error.
    void resume() EXCLUDES(mutex_);
    /// Makes fetch() return, now and from now on, until discard().
    void interrupt() EXCLUDES(mutex_);
    /// Forgets the requests that no worker has in hand, and a failure with them. The engine must not be in fetch().
    void discard() EXCLUDES(mutex_);
    /// Interrupts, and ends the workers; one that has a fault in hand finishes it first. Idempotent.
    void stop() EXCLUDES(mutex_);

    [[nodiscard]] std::uint64_t posted() const { return posted_.get(); }
    /// Faults that invalidations kept from installing, and that were put back.
    [[nodiscard]] std::uint64_t retries() const { return retries_.get(); }

private:
    /// A request in a worker's hand, and the round it was taken in.
    struct Taken {
        PageRequest request;
        std::uint64_t round;
    };
    void work();
    [[nodiscard]] std::optional<Taken> take() EXCLUDES(mutex_);
    void settle(PageRequest request, mmu::FaultOutcome outcome) EXCLUDES(mutex_);
    void conclude(PageRequest request, PageAnswer answer) REQUIRES(mutex_);
    void keep(const Taken& taken, const Error& error) EXCLUDES(mutex_);

    mmu::DeviceTable& table_;
    mmu::WindowSource& source_;
    const std::function<void(const Error&)> on_error_;

    Mutex mutex_{LockRank::page_requests};
    CondVar work_;                                        // queue, failure, stop: for the workers
    CondVar answered_;                                    // an answer, room, an interrupt: for the engine
    std::deque<PageRequest> queue_ GUARDED_BY(mutex_);    // in no worker's hand
    std::unordered_set<Gfn> pending_ GUARDED_BY(mutex_);  // in the queue or in hand; at most `capacity`
    std::optional<Gfn> wanted_ GUARDED_BY(mutex_);        // what fetch() waits for
    std::optional<PageAnswer> answer_ GUARDED_BY(mutex_);
    std::uint64_t round_ GUARDED_BY(mutex_) = 0;  // grows with every resume() and discard()
    bool failed_ GUARDED_BY(mutex_) = false;
    bool interrupted_ GUARDED_BY(mutex_) = false;
    bool stopping_ GUARDED_BY(mutex_) = false;
    Counter posted_;
    Counter retries_;
    std::vector<Thread> workers_;
};

}  // namespace penumbra::vmm
