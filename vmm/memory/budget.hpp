// The RAM budget of one VM: resident, limbo and compressed bytes alike count against it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>

#include "base/counters.hpp"
#include "base/mutex.hpp"

namespace penumbra::vmm {

/// Thread-safe. A page in the window or in a staging slot is charged from before it comes until after it is gone.
class Budget {
public:
    /// `pool_bytes` answers what the compressed tier costs now; callable from any thread.
    Budget(std::uint64_t limit_bytes, std::function<std::uint64_t()> pool_bytes)
        : limit_(limit_bytes), pool_bytes_(std::move(pool_bytes)) {}

    [[nodiscard]] std::uint64_t limit() const { return limit_; }
    [[nodiscard]] std::uint64_t pages() const { return pages_.load(std::memory_order_relaxed); }
    [[nodiscard]] std::uint64_t charged() const { return pages() * 4096 + pool_bytes_(); }
    [[nodiscard]] std::uint64_t peak() const { return peak_.get(); }

    [[nodiscard]] bool has_room() const { return charged() + 4096 <= limit_; }
    /// Charges one page if that stays within the limit.
    [[nodiscard]] bool try_charge();
    void uncharge(std::uint64_t pages) { pages_.fetch_sub(pages, std::memory_order_relaxed); }
    /// To be called after the pool grew.
    void note_peak() { peak_.raise_to(charged()); }

    /// Sleeps until announce_room() or the deadline; false at the deadline.
    bool wait_for_room(std::chrono::steady_clock::time_point deadline) EXCLUDES(mutex_);
    void announce_room() EXCLUDES(mutex_);
    [[nodiscard]] bool somebody_waits() const { return waiting_.load(std::memory_order_seq_cst) > 0; }

private:
    const std::uint64_t limit_;
    std::function<std::uint64_t()> pool_bytes_;
    std::atomic<std::uint64_t> pages_{0};
    std::atomic<std::uint32_t> waiting_{0};
    Counter peak_;
    Mutex mutex_{LockRank::budget};
    CondVar room_;
    std::uint64_t announcements_ GUARDED_BY(mutex_) = 0;
};

}  // namespace penumbra::vmm
