// Watches and guest page tables over the window: what a ShadowTable needs of guest memory, by write protection.
//
//   watch                          take-out (EptTable's start)          direct I/O
//   hold the page: EptTable::access                                     hold (IoTable)
//   protect                        freeze the entry                     submit: the kernel pins the page, and faults
//   held by I/O? then not          wait for accesses                            where it is protected
//   let the page go                take the page out
//
// The page is held, so a watch and a take-out of one page never overlap: what the take-out itself protects is not taken
// for a watch, and a page on its way out is `absent`. I/O that pinned a page before it was protected would go around
// the protection. Its hold began before the pin, so it is seen; a hold that is granted after the look pins later than
// the page was protected, and faults like any other writer.
//
// There is one mapping of the window, so the VMM's own exchanges are kept from their watch by the table
// (OwnWrites::break_watch): where compare_exchange() is called nobody watches the page, and nothing of it is protected,
// so that a thread never sleeps in a fault that it would have to answer itself.
#pragma once

#include <atomic>
#include <functional>
#include <span>
#include <vector>

#include "shadow-mmu/shadow/watch_port.hpp"
#include "shadow-mmu/tables/ept_table.hpp"

namespace penumbra::mmu {

/// Thread-safe. One ShadowTable's.
class WatchedWindow final : public WatchPort, public GuestMemory {
public:
    /// Whether I/O of the kernel may have the page in hand. Any thread, also while a page is held; must not wait.
    using InUse = std::function<bool(Hvp)>;

    /// Both must outlive this.
    WatchedWindow(EptTable& ept, WindowPort& window, InUse in_use);

    // ---- WatchPort ----
    /// Pages that I/O has in hand are `absent`.
    void watch(std::span<WatchRequest> pages) override;
    void unwatch(std::span<const Gfn> pages) override;
    [[nodiscard]] OwnWrites own_writes() const override { return OwnWrites::break_watch; }

    // ---- GuestMemory ----
    [[nodiscard]] std::expected<std::uint64_t, EntryProblem> read(Gpa entry) override;
    [[nodiscard]] EntryExchange compare_exchange(Gpa entry, std::uint64_t expected, std::uint64_t desired) override;
    [[nodiscard]] bool present(Gfn gfn) override { return ept_.present(gfn); }

    /// Nobody hears of writes any more: from now on every page is `refused`, none is protected and no writer sleeps,
    /// but in pages that are being taken out. Idempotent.
    void stop();

private:
    struct Held {
        WatchRequest* request;
        EptTable::Access access;
    };
    /// Holds those of the pages that are in the window.
    [[nodiscard]] std::vector<Held> hold(std::span<WatchRequest> pages);
    void protect(std::span<Held> run);
    [[nodiscard]] WatchResult settled(Hvp page) const;
    [[nodiscard]] EntryProblem problem_of(Gfn gfn) const;

    EptTable& ept_;
    WindowPort& window_;
    const InUse in_use_;
    std::atomic<bool> stopped_{false};
};

}  // namespace penumbra::mmu
