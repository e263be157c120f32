// Brings in the pages that devices wish for: a few workers fault them in, take a hold, and hand page and hold to the
// device's loop, so that whatever leaves meanwhile, the device gets its look.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/counters.hpp"
#include "base/mutex.hpp"
#include "base/thread.hpp"
#include "shadow-mmu/fault/window_source.hpp"
#include "shadow-mmu/tables/io_table.hpp"
#include "vmm/devices/dma/dma_space.hpp"

namespace penumbra::vmm {

class DmaInbox;

struct DmaServiceOptions {
    /// One of them serves quick pages only; at least 2.
    unsigned workers = 4;
    /// True when bringing this page in may take milliseconds: it then waits for a worker among its like only. Any
    /// thread, no lock held.
    std::function<bool(Hvp)> is_slow;
    /// A page cannot be supplied now. Told once, on a worker with no lock held; nothing is brought in until resume().
    /// Must not call stop().
    std::function<void(const Error&)> on_error;
};

/// Thread-safe. Table, EPT table and pager outlive it; it outlives its clients. Callers hold no lock.
class DmaService {
public:
    DmaService(mmu::IoTable& table, mmu::EptTable& ept, mmu::PageSource& pager, DmaServiceOptions options);
    ~DmaService() { stop(); }
    DmaService(const DmaService&) = delete;
    DmaService& operator=(const DmaService&) = delete;

    /// Goes on after an error.
    void resume() EXCLUDES(mutex_);
    /// Drops wishes and grants and ends the workers; one that has a fault in hand finishes it first. Idempotent. Wishes
    /// that come later are never granted. Devices let go of their own holds before the address space is released.
    void stop() EXCLUDES(mutex_);

    struct Stats {
        std::uint64_t wishes;           ///< want() calls for RAM
        std::uint64_t already_present;  ///< of them, granted at once
        std::uint64_t brought_in;       ///< pages that were out of the window
        std::uint64_t retries;          ///< requests put back because pages left at once or were being invalidated
        std::uint64_t holds;
        std::uint64_t io_waits;     ///< invalidations that had to wait for holds
        std::uint64_t io_waits_ns;  ///< what they waited, in total
    };
    [[nodiscard]] Stats stats() const;
    /// Pages that are asked for and not granted yet.
    [[nodiscard]] std::size_t pending() const EXCLUDES(mutex_);
    [[nodiscard]] mmu::IoTable& table() { return table_; }

private:
    friend class DmaClient;
    struct Wish {
        std::shared_ptr<DmaInbox> inbox;
        std::uint64_t number;
    };
    /// One page that is asked for. In the queue, or in a worker's hand.
    struct Request {
        mmu::FaultAccess access;
        std::vector<Wish> wishes;
        bool in_hand = false;
    };
    enum class Pace : std::uint8_t { quick, slow };
    struct Queued {
        Gfn gfn;
        std::uint64_t ticket;
    };
    /// What a worker takes along: the round tells whether resume() came meanwhile.
    struct Taken {
        Gfn gfn;
        mmu::FaultAccess access;
        std::uint64_t round;
    };
    enum class Served : std::uint8_t { present, not_ram, again, never };

    // ---- for clients ----
    void add(std::shared_ptr<DmaInbox> inbox) EXCLUDES(mutex_);
    void remove(const std::shared_ptr<DmaInbox>& inbox) EXCLUDES(mutex_);
    void want(const std::shared_ptr<DmaInbox>& inbox, std::uint64_t number, Gfn gfn, mmu::FaultAccess access)
        EXCLUDES(mutex_);
    void forget(const std::shared_ptr<DmaInbox>& inbox) EXCLUDES(mutex_);
    /// As IoTable::hold(), for pages that are in the window, whether or not the table has their entries yet.
    [[nodiscard]] std::optional<mmu::IoTable::Hold> hold(Gfn first, std::uint64_t pages, mmu::HoldFor purpose);
    [[nodiscard]] bool enter_if_in_window(Gfn gfn);
    [[nodiscard]] const mmu::Memslots& memslots() const { return table_.memslots(); }

    // ---- workers ----
    void work(bool only_quick);
    [[nodiscard]] std::optional<Taken> take(bool only_quick) EXCLUDES(mutex_);
    [[nodiscard]] std::deque<Queued>* next_queue(bool only_quick) REQUIRES(mutex_);
    void serve(const Taken& taken);
    [[nodiscard]] Result<Served> bring_in(const Taken& taken, std::shared_ptr<const mmu::IoTable::Hold>& hold);
    void conclude(Gfn gfn, DmaGrant what, const std::shared_ptr<const mmu::IoTable::Hold>& hold) EXCLUDES(mutex_);
    [[nodiscard]] std::vector<Wish> finish(Gfn gfn) EXCLUDES(mutex_);
    void put_back(Gfn gfn) EXCLUDES(mutex_);
    void keep(const Taken& taken, const Error& error) EXCLUDES(mutex_);
    [[nodiscard]] Pace pace_of(Gfn gfn) const;
    void enqueue(Gfn gfn, Pace pace) REQUIRES(mutex_);

    mmu::IoTable& table_;
    mmu::EptTable& ept_;
    mmu::WindowSource source_;
    const DmaServiceOptions options_;

    mutable Mutex mutex_{LockRank::dma};
    CondVar work_;
    std::unordered_map<Gfn, Request> requests_ GUARDED_BY(mutex_);  // at most one per page of RAM
    std::deque<Queued> quick_ GUARDED_BY(mutex_);                   // requests in no worker's hand, each in one queue
    std::deque<Queued> slow_ GUARDED_BY(mutex_);
    std::vector<std::shared_ptr<DmaInbox>> inboxes_ GUARDED_BY(mutex_);
    std::uint64_t tickets_ GUARDED_BY(mutex_) = 0;
    std::uint64_t round_ GUARDED_BY(mutex_) = 0;  // grows with every resume()
    bool failed_ GUARDED_BY(mutex_) = false;
    bool stopping_ GUARDED_BY(mutex_) = false;
    Counter wishes_;
    Counter already_present_;
    Counter retries_;
    std::vector<Thread> workers_;
};

}  // namespace penumbra::vmm
