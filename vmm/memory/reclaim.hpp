// Makes room: takes cold pages out of the running guest, packs what stayed in limbo long enough, and writes the oldest
// blobs back to the file tier, so that the budget holds.
//
//   window --evict (batched bracket)--> limbo --pack (LZ4, zero, file)--> compressed --write back--> file
//
// One thread does it in the background between two water marks; fault threads at the hard limit help by non-blockable,
// memory-only steps. The sweep is a clock over the page words; a page that came back from limbo is passed over once.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "base/mutex.hpp"
#include "base/thread.hpp"
#include "notifier-bridge/address_space.hpp"
#include "vmm/memory/pager_state.hpp"
#include "vmm/memory/reclaim_limits.hpp"
#include "vmm/memory/staging_memory.hpp"

namespace penumbra::vmm {

class Reclaimer {
public:
    /// True for a page that somebody is working on and that would make its eviction wait. Any thread; quick.
    using InUse = std::function<bool(Hvp)>;

    Reclaimer(PagerState& state, bridge::AddressSpace& space, StagingMemory& staging, InUse in_use,
              const ReclaimLimits& limits);
    ~Reclaimer() { stop(); }
    Reclaimer(const Reclaimer&) = delete;
    Reclaimer& operator=(const Reclaimer&) = delete;

    /// Ends the background thread and waits for helping ones; idempotent. After PagerState::stopping was set.
    void stop() EXCLUDES(mutex_);
    /// Asks for a background pass; cheap.
    void kick();
    /// True when the background pass is due.
    [[nodiscard]] bool due() const { return state_.budget.charged() > limits_.high_water; }
    /// True from the level on that background passes go down to.
    [[nodiscard]] bool is_near_work() const {
        return state_.budget.charged() >= limits_.low_water - limits_.low_water / 16;
    }
    /// By a fault at the hard limit: evict and pack a little without waiting for anybody.
    void help();
    /// Why no room can be made, once a whole pass freed nothing; cleared by retry().
    [[nodiscard]] std::optional<Error> exhausted() const EXCLUDES(mutex_);
    void retry() EXCLUDES(mutex_);

    /// Has the background thread pack until `slots` of limbo are free; false when it cannot. One caller at a time.
    [[nodiscard]] bool wait_for_slots(std::uint32_t slots) EXCLUDES(mutex_);

    // ---- steps, also for tests and benchmarks; any thread ----
    /// Takes up to `wanted` pages out of the window in sweep order; returns how many left. Pages in use are passed
    /// over.
    std::size_t evict(std::size_t wanted, bridge::Blockable blockable);
    struct Evicted {
        std::size_t reached = 0;  ///< looked at; fewer than were asked for when limbo is full
        std::size_t taken = 0;
        std::size_t kept = 0;  ///< in the window still: the kernel would not give them
    };
    /// Takes these pages (ascending) out if they are in the window.
    Evicted evict_pages(std::span<const Hvp> pages, bridge::Blockable blockable);
    enum class PackTarget : std::uint8_t { memory_only, any };
    /// Packs up to `wanted` of the oldest limbo pages; returns how many slots became free. `any` writes to the file
    /// tier, which takes one writer: background thread only, or with that thread stopped.
    std::size_t pack(std::size_t wanted, PackTarget target);
    /// Moves up to `wanted` of the oldest blobs to the file tier. Background thread only, or with the thread stopped.
    std::size_t write_back(std::size_t wanted);
    /// Drops up to `wanted` copies that the tier keeps of pages that are in the window; any thread.
    std::size_t drop_copies(CopyTier tier, std::size_t wanted);

private:
    struct Packing;

    [[nodiscard]] bool record_taken(PageIndex page, std::uint32_t slot);
    void run();
    void pass();
    [[nodiscard]] bool step();
    [[nodiscard]] bool may_evict() const;
    [[nodiscard]] bool free_wanted_slots() EXCLUDES(mutex_);
    void give_up() EXCLUDES(mutex_);
    void note_failure(const Error& error) EXCLUDES(mutex_);
    [[nodiscard]] std::size_t empty(const Packing& packing);
    void claim_pages(Packing& packing);
    void reuse_copies(Packing& packing);
    [[nodiscard]] bool drop_copy_of(PageIndex page, PageWord word);
    [[nodiscard]] bool relocate(std::uint64_t page, StoreHandle from, StoreHandle to);
    void write_slowly(std::span<const FileItem> items, std::span<SlowOutcome> outcomes);
    void store_compressed(Packing& packing);
    void store_slowly(Packing& packing);
    void put_back(Packing& packing);
    void keep_returned(Packing& packing);

    static constexpr std::size_t batch = 64;

    PagerState& state_;
    bridge::AddressSpace& space_;
    StagingMemory& staging_;
    const InUse in_use_;
    const ReclaimLimits limits_;
    std::atomic<std::uint64_t> hand_{0};
    std::atomic<std::uint64_t> copy_hand_{0};
    std::atomic<bool> passed_over_{false};  // this pass met pages in use

    mutable Mutex mutex_{LockRank::reclaim};
    CondVar wake_;
    bool kicked_ GUARDED_BY(mutex_) = false;
    bool stop_ GUARDED_BY(mutex_) = false;
    std::uint32_t wanted_slots_ GUARDED_BY(mutex_) = 0;
    bool slots_refused_ GUARDED_BY(mutex_) = false;
    std::optional<Error> exhausted_ GUARDED_BY(mutex_);
    std::optional<Error> failure_ GUARDED_BY(mutex_);
    std::atomic<bool> pending_{false};
    std::atomic<std::uint32_t> helpers_{0};
    std::unique_ptr<std::byte[]> write_back_buffer_;
    Thread thread_;
};

}  // namespace penumbra::vmm
