// What all threads that use one store have seen of it.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "base/counters.hpp"
#include "base/mutex.hpp"
#include "base/result.hpp"

namespace penumbra::vmm {

enum class RemoteState : std::uint8_t {
    good,
    failing,  ///< the last batch met a failure; the next use tries again
};

struct RemoteHealth {
    RemoteState state = RemoteState::good;
    std::optional<Error> last_failure;  ///< also when it has passed
    std::uint64_t connects = 0;
    std::uint64_t redirections = 0;   ///< MOVED and ASK followed
    std::uint64_t failures = 0;       ///< batches that met one
    std::uint64_t lost_pages = 0;     ///< found missing when their expiry was put off; their next use says so too
    std::uint64_t pending_drops = 0;  ///< forgotten here, still on the store
};

/// Any thread.
class RemoteStatus {
public:
    Counter connects;
    Counter redirections;
    Counter failures;
    Counter lost_pages;

    void note_failure(const Error& error) {
        failures.add();
        failing_.store(true, std::memory_order_relaxed);
        const MutexLock lock{mutex_};
        last_failure_ = error;
    }
    void note_success() {
        if (failing_.load(std::memory_order_relaxed)) failing_.store(false, std::memory_order_relaxed);
    }
    [[nodiscard]] RemoteHealth health() const {
        const MutexLock lock{mutex_};
        const bool failing = failing_.load(std::memory_order_relaxed);
        return {failing ? RemoteState::failing : RemoteState::good,
                last_failure_,
                connects.get(),
                redirections.get(),
                failures.get(),
                lost_pages.get(),
                0};
    }

private:
    std::atomic<bool> failing_{false};
    mutable Mutex mutex_{LockRank::leaf};
    std::optional<Error> last_failure_ GUARDED_BY(mutex_);
};

}  // namespace penumbra::vmm
