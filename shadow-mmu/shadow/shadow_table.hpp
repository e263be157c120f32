// Guest-virtual page -> host virtual page, derived from the page tables of guest processes: what a device that takes
// commands in a process's addresses (shared virtual memory) translates through. Guest tables are hostile input.
//
//   fault: walk, sampling each table's page -> sample and look at the data page -> watch the tables -> read the
//          entries again -> lock: nothing intervened? -> link and map
//   write: the guest's store sleeps -> written(): drop what came from the table, flush, drain -> unwatch -> it goes on
//
// Leaves are 4 KiB whatever the guest's sizes. All of it is derived: dropping any part at any time is safe.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.hpp"
#include "notifier-bridge/interval_subscription.hpp"
#include "notifier-bridge/subscriber.hpp"
#include "shadow-mmu/flush/access_tracker.hpp"
#include "shadow-mmu/shadow/sampled_entries.hpp"
#include "shadow-mmu/shadow/shadow_context.hpp"
#include "shadow-mmu/shadow/shadow_fault.hpp"
#include "shadow-mmu/shadow/shadow_settings.hpp"
#include "shadow-mmu/shadow/shadow_tree.hpp"
#include "shadow-mmu/table/dirty_log.hpp"

namespace penumbra::mmu {

/// Thread-safe. One lock (rank `table`) guards everything; it is held for memory work only, never across the ports but
/// the TLB's fill, a flush, or a drain. One zap at a time is between its cut and its drain ("the gate"), so that none
/// can return while what it found gone already may still be in a TLB.
///
/// Of the engine nobody may hold an Access when fault() or any other call of the table is made: a zap would wait for
/// it.
class ShadowTable final : public bridge::Subscriber {
public:
    static constexpr std::size_t most_contexts = 64;

    /// The ports must outlive the table. It must be released, or all its contexts closed, before its end.
    ShadowTable(std::string name, Memslots memslots, ShadowPorts ports, const ShadowLimits& limits = {},
                ShadowClock clock = &std::chrono::steady_clock::now);

    // ---- contexts ----
    /// nullopt: too many. The mode is the device's to check: 4 or 5 levels, 32 to 52 physical bits.
    [[nodiscard]] std::optional<ContextId> open_context(const ContextOptions& options) EXCLUDES(mutex_);
    /// On return no access of the context is in flight.
    void close_context(ContextId context) EXCLUDES(mutex_);
    /// Switches to another root or mode; the one that is left is cached. On return no access by the old one is in
    /// flight. To a guest that announces it is an announcement, as a write of CR3 is.
    void set_root(ContextId context, Gpa root, const PagingMode& mode) EXCLUDES(mutex_);

    // ---- the device's side ----
    /// A page that may be accessed as asked while this lives.
    struct Access {
        AccessTracker::Guard guard;
        Hvp page;
    };
    /// Through the TLB, then the table. nullopt: a miss, see fault(). By the engine's thread.
    [[nodiscard]] std::optional<Access> access(ContextId context, Gva address, GuestAccess access) EXCLUDES(mutex_);
    /// Any thread, no lock held, outside bridge callbacks. Changes nothing but the table, flags of guest entries, and
    /// watches.
    [[nodiscard]] ShadowAnswer fault(ContextId context, Gva address, GuestAccess access) EXCLUDES(mutex_);

    // ---- the guest's side ----
    /// A guest's write waits for a page that is, or was, watched. On return nothing is derived from it, no access
    /// through what was is in flight, and it is unwatched: the write goes on. Any thread, no lock held.
    void written(Gfn table) EXCLUDES(mutex_);
    /// The guest announces that entries of these pages changed: on return the context translates them as the guest's
    /// tables say now, and no access by what was otherwise is in flight.
    void invalidate(ContextId context, GvpRange pages) EXCLUDES(mutex_);

    // ---- the host's side ----
    [[nodiscard]] std::string_view name() const override { return name_; }
    [[nodiscard]] bridge::SubscriberOrder order() const override { return bridge::SubscriberOrder::shadow; }
    [[nodiscard]] bridge::StartResult invalidate_start(const bridge::InvalidationEvent& event) override
        EXCLUDES(mutex_);
    void invalidate_end(const bridge::InvalidationEvent& event) override { sequence_.lift(event.ranges); }
    void release() override EXCLUDES(mutex_);
    /// Forgets every translation and watch; contexts stay. On return no access by what was is in flight.
    void drop_everything() EXCLUDES(mutex_);
    /// Marks the page of every leaf that permits writes, from now on and before it does; until told otherwise by null.
    /// What was installed before is the caller's to drop, and so is what was marked once the marks are taken.
    void log_writes(DirtyBitmap* log) EXCLUDES(mutex_);

    // ---- for inspection and tests ----
    struct Translation {
        Gvp page;
        Hvp host;
        AllowedAccesses allowed;
    };
    /// What the context translates now, at most `most` pages.
    [[nodiscard]] std::vector<Translation> translations(ContextId context, std::size_t most) EXCLUDES(mutex_);
    [[nodiscard]] std::size_t shadow_pages() EXCLUDES(mutex_);
    [[nodiscard]] std::size_t watched_tables() EXCLUDES(mutex_);
    [[nodiscard]] bool is_watched(Gfn table) EXCLUDES(mutex_);
    [[nodiscard]] Tracking tracking_of(ContextId context) EXCLUDES(mutex_);
    /// What is wrong with the table's structure or its watches, or nothing. At a quiet moment.
    [[nodiscard]] std::string inconsistency() EXCLUDES(mutex_);
    [[nodiscard]] const ShadowStats& stats() const { return stats_; }

private:
    /// A guest table that is watched or about to be. Between `beginning` or `ending` and the next state the page is one
    /// thread's; that thread waits for no other record.
    enum class WatchState : std::uint8_t { none, beginning, watched, ending };
    struct WatchRecord {
        WatchState state = WatchState::none;
        unsigned pins = 0;        ///< faults that are about to use it
        unsigned writes = 0;      ///< since it was last used
        std::uint64_t epoch = 0;  ///< of its last beginning; never the same twice
        [[nodiscard]] bool settled() const { return state == WatchState::none || state == WatchState::watched; }
    };
    struct Attempt;
    /// What a part of a fault came to.
    enum class Step : std::uint8_t { go_on, again, answered };
    enum class Install : std::uint8_t { done, again, conflict, unsync_reuse, table_write };

    // shadow_table.cpp: contexts, accesses
    [[nodiscard]] ShadowContext* context_of(ContextId context) REQUIRES(mutex_);
    void hold_root(ContextId id, ShadowContext& context, ShadowPage& page) REQUIRES(mutex_);
    void leave_root(ContextId id, ShadowContext& context) REQUIRES(mutex_);
    void let_go(ShadowPage& page, Cut& cut) REQUIRES(mutex_);
    void forget_roots(ContextId id, ShadowContext& context, Cut& cut) REQUIRES(mutex_);
    void switch_root(ContextId id, ShadowContext& context, ContextView next, Cut& cut) REQUIRES(mutex_);
    struct Found {
        std::uint64_t leaf;
        EntryPlace place;
    };
    [[nodiscard]] std::optional<Found> find_leaf(const ShadowContext& context, Gvp page) REQUIRES(mutex_);

    // shadow_zap.cpp: the gate, watches' ends, writes, the quota
    void close_gate() REQUIRES(mutex_);
    enum class Drained : std::uint8_t { at_once, waited };
    /// Second half of every zap: flush, drain, open the gate, end watches that nobody needs.
    Drained discharge(Cut& cut, const bridge::RangeSet& drain) EXCLUDES(mutex_);
    void open_gate(const Cut& cut) EXCLUDES(mutex_);
    /// Makes the record the caller's, to end its watch; true when there was one.
    [[nodiscard]] bool begin_end(Gfn table) EXCLUDES(mutex_);
    void finish_end(std::span<const Gfn> tables) EXCLUDES(mutex_);
    void erase_if_idle(Gfn table) REQUIRES(mutex_);
    void zap_table(Gfn table) EXCLUDES(mutex_);
    void note_write(Gfn table) EXCLUDES(mutex_);
    void note_contexts(const ShadowPage& page, ShadowTime now, unsigned& steps) REQUIRES(mutex_);
    [[nodiscard]] EntryExchange exchange(Gpa entry, std::uint64_t expected, std::uint64_t desired) EXCLUDES(mutex_);
    void remove_page(ShadowPage& page, Cut& cut) REQUIRES(mutex_);
    void make_room() EXCLUDES(mutex_);

    // shadow_host.cpp
    [[nodiscard]] bool take_tables(const bridge::InvalidationEvent& event, std::vector<Gfn>& taken) REQUIRES(mutex_);
    /// Closes the gate over the event; false: that would have to wait.
    [[nodiscard]] bool enter(const bridge::InvalidationEvent& event, std::vector<Gfn>& taken) EXCLUDES(mutex_);
    void zap_host_pages(const bridge::InvalidationEvent& event, Cut& cut) EXCLUDES(mutex_);

    // shadow_announce.cpp
    struct Check {
        Gfn gfn;
        std::uint64_t role;
        std::uint64_t expected;
        std::uint16_t index;
    };
    struct Sweep {
        GvpRange pages;
        Level top;
        std::size_t steps_left;
        std::vector<Check> checks;
        std::vector<Translation> found;
    };
    /// False: the context's tables are shared so widely that a sweep would take too long.
    [[nodiscard]] bool sweep(const ShadowPage& page, std::uint64_t offset, Sweep& sweep) const REQUIRES(mutex_);
    void drop_changed(std::span<const Check> checks, Cut& cut) REQUIRES(mutex_);

    // shadow_resolve.cpp, shadow_watch.cpp, shadow_install.cpp: the fault
    [[nodiscard]] Step try_once(Attempt& attempt) EXCLUDES(mutex_);
    [[nodiscard]] Step begin(Attempt& attempt) EXCLUDES(mutex_);
    [[nodiscard]] Step resolve(Attempt& attempt) EXCLUDES(mutex_);
    void go_cooperative(ContextId id) EXCLUDES(mutex_);
    void pin(Attempt& attempt) EXCLUDES(mutex_);
    void unpin(Attempt& attempt) EXCLUDES(mutex_);
    [[nodiscard]] Step watch_tables(Attempt& attempt) EXCLUDES(mutex_);
    [[nodiscard]] Step claim_tables(Attempt& attempt, std::vector<WatchRequest>& claimed) EXCLUDES(mutex_);
    [[nodiscard]] std::vector<EntryPlace> writable_leaves(std::span<const WatchRequest> tables) REQUIRES(mutex_);
    void drop_writable_leaves(std::span<const WatchRequest> tables) EXCLUDES(mutex_);
    [[nodiscard]] Step settle_tables(Attempt& attempt, std::span<const WatchRequest> claimed) EXCLUDES(mutex_);
    [[nodiscard]] bool intervened(const Attempt& attempt) REQUIRES(mutex_);
    [[nodiscard]] Install install(Attempt& attempt) EXCLUDES(mutex_);
    [[nodiscard]] Install map_page(Attempt& attempt, ShadowContext& context) REQUIRES(mutex_);
    [[nodiscard]] Install root_of(Attempt& attempt, ShadowContext& context) REQUIRES(mutex_);
    /// Makes the child of attempt.at that shadows `gfn` the next attempt.at.
    [[nodiscard]] Install descend(Attempt& attempt, Gfn gfn, const Role& role, std::uint64_t guest) REQUIRES(mutex_);
    [[nodiscard]] Step settle_install(Attempt& attempt, Install installed) EXCLUDES(mutex_);

    const std::string name_;
    const Memslots memslots_;
    GuestMemory& memory_;
    WatchPort& watches_;
    ContextTlb& tlb_;
    const ShadowLimits limits_;
    const ShadowClock clock_;
    bridge::IntervalSubscription sequence_;
    AccessTracker accesses_;
    ShadowStats stats_;

    Mutex mutex_{LockRank::table};
    CondVar changed_;  // a record settled, the gate opened
    ShadowTree tree_ GUARDED_BY(mutex_);
    std::array<ShadowContext, most_contexts> contexts_ GUARDED_BY(mutex_);
    std::map<Gfn, WatchRecord> records_ GUARDED_BY(mutex_);
    WatchSlices slices_ GUARDED_BY(mutex_);
    std::uint64_t epochs_ GUARDED_BY(mutex_) = 0;
    std::uint64_t generations_ GUARDED_BY(mutex_) = 0;
    std::uint64_t announcements_ GUARDED_BY(mutex_) = 0;
    bool gate_closed_ GUARDED_BY(mutex_) = false;
    bool released_ GUARDED_BY(mutex_) = false;
    DirtyBitmap* log_ GUARDED_BY(mutex_) = nullptr;
};

}  // namespace penumbra::mmu
