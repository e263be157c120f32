// What a shadow table needs of guest memory besides its pages: to hear of writes to guest page tables. The window
// implements it by write protection.
//
//   shadow table                              window                                  guest
//   watch(tables)                             protect(run), one call per run
//   read the entries again, publish                                                   writes a table: sleeps
//                                             message: written(table) to the table
//   zap, flush, drain
//   unwatch(table)                            unprotect(run), wake                    goes on
#pragma once

#include <cstdint>
#include <span>

#include "base/address.hpp"
#include "shadow-mmu/guest_walk/table_entries.hpp"

namespace penumbra::mmu {

enum class WatchResult : std::uint8_t {
    watched,
    absent,   ///< the page is not in the window, or on its way out: have it brought in, then watch again
    refused,  ///< no RAM, or a page whose writes cannot be seen (device memory, a kernel without the feature)
};

struct WatchRequest {
    Gfn gfn;
    WatchResult result = WatchResult::refused;  ///< set by watch()
};

/// Whether the VMM's own exchange of an entry (accessed and dirty flags) is kept from its watch.
enum class OwnWrites : std::uint8_t {
    pass,         ///< there is an unprotected alias: the watch goes on
    break_watch,  ///< the table ends the watch first, and makes the exchange before it watches again
};

/// Thread-safe. Neither call is made with a lock held. A shadow table makes no two calls for one page at once, and
/// watches no page that it watches already.
///
/// A watch lasts until unwatch(). In its start of an invalidation the shadow table ends those of the event's pages, and
/// begins none of them before the invalidation's end: the window's owner, whose start comes later, takes out pages that
/// nobody watches, and a page that comes back is not watched.
class WatchPort {
public:
    WatchPort() = default;
    WatchPort(const WatchPort&) = delete;
    WatchPort& operator=(const WatchPort&) = delete;
    virtual ~WatchPort() = default;

    /// Sets every result. After `watched` no write by a guest's processor reaches the page: it is told to the table by
    /// ShadowTable::written(), on any thread, once or more often, and goes on after unwatch(). What was written before
    /// the call is visible to reads that follow it. Waits for no fault, invalidation or subscriber: a page that is
    /// being taken out is `absent`. Pages come in rising order without repeats, so that neighbours make one run.
    virtual void watch(std::span<WatchRequest> pages) = 0;
    /// Lets writes through and wakes the writers. Also of pages that are not watched, or not in the window any more.
    /// May be called in the shadow table's start.
    virtual void unwatch(std::span<const Gfn> pages) = 0;
    [[nodiscard]] virtual OwnWrites own_writes() const = 0;
};

/// Guest memory as a shadow table sees it. Thread-safe; never faults or blocks.
class GuestMemory : public GuestEntries {
public:
    /// Whether the page is in the window. The answer may be out of date at once: the table holds a sample of the page's
    /// sequence that it took before, and looks at it again.
    [[nodiscard]] virtual bool present(Gfn gfn) = 0;
};

}  // namespace penumbra::mmu
