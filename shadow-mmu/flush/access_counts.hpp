// Accesses in flight, counted per page: for tables whose accesses are many and may last as long as the kernel's own
// I/O.
//
//   access                                   invalidation
//   count += 1           (seq_cst)           entry: present -> frozen   (seq_cst)
//   entry still present? (seq_cst)           count == 0? else wait until it is
//
// At least one of the two sees the other. (AccessTracker is the same for few and short accesses.)
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>

#include "base/mapped_region.hpp"
#include "base/mutex.hpp"
#include "base/result.hpp"
#include "base/schedule_point.hpp"

namespace penumbra::mmu {

/// Thread-safe. An access may end on any thread, whatever lock that holds. Pages are numbered from 0. Two bytes per
/// page, which take memory only where there were accesses.
class AccessCounts {
public:
    /// More accesses to one page at once are refused: a guest decides how many it asks for.
    static constexpr unsigned most_per_page = 1U << 14;

    [[nodiscard]] static Result<AccessCounts> create(std::uint64_t pages);

    /// Announces an access; false when the page has too many. The caller must look at the entry afterwards.
    [[nodiscard]] bool enter(std::uint64_t page);
    void leave(std::uint64_t page);
    [[nodiscard]] bool busy(std::uint64_t page) const {
        schedule_point(Step::entry_read, &word(page));
        return (word(page).load(std::memory_order_seq_cst) & count_mask) != 0;
    }
    /// Waits until no access to the page is in flight; false at the deadline. Where new accesses go on being announced
    /// that may never be.
    bool wait_until_idle(std::uint64_t page, std::chrono::steady_clock::time_point deadline);
    [[nodiscard]] std::uint64_t pages() const { return pages_; }

private:
    // A word is the number of accesses and a mark that somebody waits; a mark that is left over costs one wake-up.
    using Word = std::atomic<std::uint16_t>;
    static constexpr std::uint16_t waited_for = 1U << 15;
    static constexpr std::uint16_t count_mask = waited_for - 1;
    /// What waiters sleep on.
    struct alignas(64) Shard {
        Mutex mutex{LockRank::hold};
        CondVar idle;
    };
    static constexpr std::size_t shards = 64;

    AccessCounts(MappedRegion region, std::uint64_t pages);
    [[nodiscard]] Word& word(std::uint64_t page) const;
    [[nodiscard]] Shard& shard(std::uint64_t page) const { return (*shards_)[page % shards]; }

    MappedRegion region_;
    std::uint64_t pages_;
    std::unique_ptr<std::array<Shard, shards>> shards_;
};

}  // namespace penumbra::mmu
