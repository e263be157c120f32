// Copies that tiers keep of pages that came back for reading: whether they are worth their room, and how many there
// are. Thread-safe.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>

#include "base/counters.hpp"
#include "vmm/memory/page_state.hpp"

namespace penumbra::vmm {

class KeptCopies {
public:
    /// At most about `most_in_memory` copies in the compressed tier. `drop` takes a copy out of its tier; any thread.
    KeptCopies(std::uint64_t most_in_memory, std::function<void(PageCopy)> drop)
        : most_(most_in_memory), drop_(std::move(drop)) {}

    /// Whether a page's copy should outlive its coming back. What is in memory has to prove itself: a copy costs half a
    /// page, and saves a compression only if the page leaves unchanged. What is in a file costs nothing until it is
    /// full.
    [[nodiscard]] bool wants(CopyTier tier) {
        if (tier != CopyTier::compressed) return tier != CopyTier::none;
        if (kept_.load(std::memory_order_relaxed) >= static_cast<std::int64_t>(most_)) return false;
        return credit_.load(std::memory_order_relaxed) > 0 ||
               asked_.fetch_add(1, std::memory_order_relaxed) % trial == 0;
    }
    void keep(PageCopy copy) { count(copy, 1); }
    /// The page is not, or will not be, what was copied; or somebody needs the room.
    void drop(PageCopy copy) {
        if (!copy.exists()) return;
        count(copy, -1);
        drop_(copy);
    }
    /// The page left changed, and its copy is no good.
    void failed(PageCopy copy) {
        credit(-1);
        drop(copy);
    }
    /// The page left unchanged: the copy is all there is of it, from now on.
    void served(PageCopy copy) {
        credit(8);
        count(copy, -1);
        served_.add();
    }
    /// In the compressed tier.
    [[nodiscard]] std::uint64_t kept() const {
        return static_cast<std::uint64_t>(std::max<std::int64_t>(kept_.load(std::memory_order_relaxed), 0));
    }
    [[nodiscard]] const Counter& times_served() const { return served_; }

private:
    static constexpr int most_credit = 1024;
    static constexpr std::uint32_t trial = 16;  ///< without credit one of so many is kept all the same

    void count(PageCopy copy, int by) {
        if (copy.tier == CopyTier::compressed) kept_.fetch_add(by, std::memory_order_relaxed);
    }
    void credit(int by) {
        // Two threads may lose a step to each other: it is an estimate.
        const int now = credit_.load(std::memory_order_relaxed) + by;
        credit_.store(std::clamp(now, 0, most_credit), std::memory_order_relaxed);
    }

    const std::uint64_t most_;
    std::function<void(PageCopy)> drop_;
    std::atomic<std::int64_t> kept_{0};
    std::atomic<int> credit_{most_credit / 4};
    std::atomic<std::uint32_t> asked_{0};
    Counter served_;
};

}  // namespace penumbra::vmm
