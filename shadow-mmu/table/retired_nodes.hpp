// Table pages between being unlinked and being used again. (KVM: tdp_mmu_free_sp through call_rcu. Here whoever unlinks
// waits, now and then, for all pages of a batch at once, which needs no thread.)
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "base/address.hpp"
#include "base/mutex.hpp"
#include "base/planted.hpp"
#include "base/rcu.hpp"

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
    /// Calls free(node) for each page that was retired before the call, after a grace period; false when there was
    /// none.
    template <class Free>
    bool take(Free&& free) EXCLUDES(mutex_) {
        std::vector<Hvp> nodes;
        {
            const MutexLock lock(mutex_);
            nodes.swap(nodes_);
        }
        if (nodes.empty()) return false;
        if (!planted(Plant::free_before_grace) && !planted(Plant::free_before_flush)) rcu::wait_for_readers();
        for (const Hvp node : nodes) free(node);
        return true;
    }

private:
    static constexpr std::size_t batch = 64;

    mutable Mutex mutex_{LockRank::leaf};
    std::vector<Hvp> nodes_ GUARDED_BY(mutex_);
};

}  // namespace penumbra::mmu
