// Table pages between being unlinked and being used again. (KVM: tdp_mmu_free_sp through call_rcu. Here whoever unlinks
// waits, now and then, for all pages of a batch at once, which needs no thread.)
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/address.hpp"
#include "base/mutex.hpp"
#include "base/planted.hpp"
#include "base/rcu.hpp"
#include "base/wait.hpp"

namespace penumbra::mmu {

/// Thread-safe.
class RetiredNodes {
public:
    void add(Hvp node) EXCLUDES(mutex_) {
        const MutexLock lock(mutex_);
        nodes_.push_back(node);
    }
    /// A grace period from here on is worth its price.
    [[nodiscard]] bool many() const EXCLUDES(mutex_) {
        const MutexLock lock(mutex_);
        return nodes_.size() >= batch;
    }
    /// Calls free(node) for each page that was retired before the call, after a grace period, or waits for somebody who
    /// is about to; false when there was none.
    template <class Free>
    bool take(Free&& free) EXCLUDES(mutex_) {
        std::vector<Hvp> nodes;
        std::uint64_t seen = 0;
        {
            const MutexLock lock(mutex_);
            const std::uint64_t freed = freed_.load(std::memory_order_relaxed);
            nodes.swap(nodes_);
            if (nodes.empty() && taken_ == freed) return false;
            if (!nodes.empty()) ++taken_;
            seen = freed;
        }
        if (nodes.empty()) {
            wait_while(freed_, seen);
            return true;
        }
        if (!planted(Plant::free_before_grace) && !planted(Plant::free_before_flush)) rcu::wait_for_readers();
        for (const Hvp node : nodes) free(node);
        freed_.fetch_add(1, std::memory_order_seq_cst);
        wake_all(freed_);
        return true;
    }

private:
    static constexpr std::size_t batch = 64;

    mutable Mutex mutex_{LockRank::leaf};
    std::vector<Hvp> nodes_ GUARDED_BY(mutex_);
    std::uint64_t taken_ GUARDED_BY(mutex_) = 0;  // batches
    std::atomic<std::uint64_t> freed_{0};         // of them
};

}  // namespace penumbra::mmu
