// Switches that plant a known bug or hold a door open, so that a test can prove it would catch it. They exist only in
// builds with PENUMBRA_TEST_SWITCHES; elsewhere `planted()` is the constant false and the code behind it vanishes.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace penumbra {

enum class Plant : std::uint8_t {
    skip_ept_zap,           ///< EptTable takes a page out but leaves its entry present
    skip_device_zap,        ///< a device's table leaves an entry present across an invalidation
    skip_ept_flush,         ///< one run of a batch is accounted but not taken out of the window
    skip_device_flush,      ///< the device TLB keeps a translation its table dropped
    skip_sequence_recheck,  ///< a fault installs without looking at the sequence again
    delay_before_install,   ///< not a bug: widens the window between resolve and install, or copy and drop
    linger_in_access,       ///< not a bug: the accelerator stays for a while on each page of a process
    drop_invalidate_end,    ///< one subscriber's end is not delivered
    corrupt_stored_page,    ///< one bit of a stored page flips
    full_disk,              ///< the file tier's writes answer ENOSPC
    short_read,             ///< the file tier's reads come back short
    dead_worker,            ///< a fault worker leaves its loop with a fault in hand
    hold_tier,              ///< not a bug: swap-in waits until the switch is cleared
    hold_page,              ///< not a bug: swap-in of one page waits; planted with 1 + the page's number
    skip_drain,             ///< start does not wait for accesses in flight
    skip_io_drain,          ///< IoTable's start does not wait for pages that are held
    skip_guest_write,       ///< a write to a watched page goes on without the table that watches it being told
    split_forgets_rights,   ///< the leaves that a split makes may be written, whatever the large leaf permitted
    collapse_skips_flush,   ///< a table is replaced by a large leaf with its small translations still cached
    free_before_flush,      ///< a table page is used again while its translations may be cached
    free_before_grace,      ///< a table page is used again while readers may walk it
    young_query_clears,     ///< asking whether a page was accessed forgets that it was
    clean_skips_flush,      ///< dirty marks are cleared, and writers go on through translations that set none
    clear_before_flush,     ///< a zapped entry can be claimed again before its translation is flushed
    miss_disallow,          ///< a page that forbids large leaves over it is not counted
    // Bugs against single invariants of the tables and the bridge (docs/invariants.md).
    hold_off_everywhere,       ///< an invalidation holds off pages far from its own
    end_lifts_all,             ///< the end of an inner invalidation lets faults in under the outer
    install_after_release,     ///< a released table takes entries
    aging_forgets_writes,      ///< who logs writes is not told that an aged page may have been written
    read_grants_write,         ///< an aged page that is read may be written again, unseen
    unlawful_rights,           ///< a leaf may permit writes that the MMU or the host does not
    host_right_changes,        ///< whether the host's page may be written changes in place
    frame_changes,             ///< a leaf changes its page in place
    claim_becomes_anything,    ///< a claimed entry may become what no install or give-back makes of it
    thaw_to_another,           ///< a frozen entry may become what it was not
    leaf_over_table,           ///< a table may be overwritten by a leaf, with all that hangs below
    uncounted_entry,           ///< changes of entries are not counted
    uncounted_zap,             ///< zapped pages are not counted
    blind_store,               ///< an entry is overwritten whatever the walker or others made of it meanwhile
    lost_right_owes_nothing,   ///< a leaf that permits less counts as flushed
    cleaning_owes_nothing,     ///< a leaf that loses its D bit counts as flushed
    split_forgets_marks,       ///< the leaves that a split makes are neither accessed nor dirty
    collapse_forgets_marks,    ///< nor is the leaf that a collapse makes
    zap_forgets_marks,         ///< nor are leaves as a zap hands them back
    grant_unlogged,            ///< a page that may be written again is not logged
    grant_logs_neighbour,      ///< the page behind it is logged instead
    frozen_counts_as_present,  ///< a fault takes an entry on its way out for one that is there
    zap_waits_owning,          ///< a zap waits for somebody's entry with its own still frozen
    step_passes_over,          ///< a walk goes on behind the entry that it stopped at
    reclaim_in_section,        ///< a walk that finds no table page waits for readers, itself among them
    incongruent_large,         ///< large leaves where guest and host pages differ modulo the size
    large_over_edge,           ///< large leaves over the ends of a slot
    allow_below_zero,          ///< a large leaf may be allowed more often than it was forbidden
    harvest_leaves_write,      ///< a harvested page stays writable: its next write leaves no mark
    mark_many,                 ///< a write marks 64 pages
    ring_forgets_overflow,     ///< a full dirty ring drops pages and does not say so
    ring_lists_again,          ///< a page is listed for every write
    populate_ignores_rights,   ///< what is mapped ahead may be written, whatever was asked
    populate_ignores_refusal,  ///< what is mapped ahead is published though its pages may not be
    populate_passes_refusal,   ///< mapping ahead goes on behind pages that were refused, and calls it done
    refusal_is_silent,         ///< an access to nothing, or against the entry's rights, counts as served
    node_handed_out_twice,     ///< two users are given one table page
    rank_unchecked,            ///< locks may be taken in any order
    unaligned_ram,             ///< RAM need not be whole 2 MiB
    overlapping_slots,         ///< RAM above 4 GiB is put over RAM below
    // Bugs of the protocol, for the simulation (docs/testing.md).
    reverse_starts,           ///< the bridge delivers starts from the window outwards
    keep_aborted_starts,      ///< subscribers that were started are not ended when a later one would block
    straddle_change,          ///< subscribers change while an invalidation is open
    end_uncounted,            ///< an end leaves the sequence as it was before the start
    end_wakes_nobody,         ///< faults that wait for an end sleep on
    hold_off_first_range,     ///< only the first range of an event is held off
    sample_while_open,        ///< a fault's sample does not wait for open invalidations
    lift_early,               ///< the window's hold-off ends with its start
    no_hold_off,              ///< the window's table does not hold faults off
    recheck_before_claim,     ///< a fault looks at the sequence again before it claims the entry
    sample_after_resolve,     ///< a fault samples the sequence when it has its page
    skip_commit,              ///< a fault does not ask whether the page moved since
    keep_claim,               ///< a fault that met an invalidation leaves its claim behind
    conclude_twice,           ///< a fault that starts over gives back twice what it reserved
    publish_before_fill,      ///< the entry is present before its page is
    publish_failed_fill,      ///< the entry becomes present though its page did not come
    forget_conclude,          ///< a fault that lost its claim keeps what it reserved
    fill_tlb_unchecked,       ///< a device's TLB keeps a fill whose entry left meanwhile
    announce_late,            ///< VMM code looks at the entry first and announces its access afterwards
    hold_unchecked,           ///< a hold is granted without a second look at the entry
    clear_kept_page,          ///< a page that the kernel would not give loses its entry
    keep_frozen,              ///< a start that would block leaves what it froze
    wait_while_frozen,        ///< I/O is waited for with its page's neighbours frozen
    last_hold_wakes_nobody,   ///< the last hold of a page ends, and who waits sleeps on
    access_wakes_nobody,      ///< an access ends, and who drains sleeps on
    shift_staging,            ///< behind a page that stays, pages go to the wrong slots
    pack_pinned,              ///< a slot is emptied while a fault reads it
    commit_old_slot,          ///< a page is rescued from a slot that it left meanwhile
    drop_before_install,      ///< a tier's copy is dropped before the page is in the window
    abandon_keeps_word,       ///< a fault that cannot finish leaves the page called resident
    abandon_keeps_charge,     ///< ... and charged
    abandon_keeps_pin,        ///< ... and its slot pinned
    keep_discarded,           ///< a page that was discarded while leaving is kept in its slot
    keep_lost_blob,           ///< what was stored of a page that came back meanwhile is not dropped
    release_before_emptying,  ///< a slot is given out again before it is emptied
    write_back_unchecked,     ///< a blob that was written back is dropped, whatever its page's word says
    forget_keeps_copy,        ///< a discarded page's copy in a tier stays
    copy_unchecked,           ///< a page goes back to its copy though it was changed meanwhile
    rescue_forgets_copy,      ///< a page that comes back from its slot leaves its copy there
    keep_dropped_copy,        ///< compressed memory keeps what it was told to drop
    free_shared_early,        ///< a blob goes with the page that brought it, though others share it
    match_any_page,           ///< a stored copy serves any page that has its contents
    kick_wakes_nobody,        ///< the background pass sleeps on when it is asked for
    // Bugs of the remote store.
    remote_ignores_version,  ///< an answer of the remote store is believed by its own header, whatever its version
    remote_ignores_moved,    ///< a cluster's MOVED counts as a refusal
    remote_skips_asking,     ///< a cluster's ASK is followed without ASKING
    remote_takes_evicting,   ///< a server that may evict pages is taken
    remote_forgets_renewal,  ///< stored pages' expiry is not put off
    remote_keeps_broken,     ///< a connection whose answer did not come in time is used on
    count
};

#if defined(PENUMBRA_TEST_SWITCHES)

namespace detail {
/// How many more times each switch fires; -1 means always.
inline std::array<std::atomic<std::int64_t>, static_cast<std::size_t>(Plant::count)> plants{};
}  // namespace detail

/// True when the switch fires; counts one use down.
[[nodiscard]] inline bool planted(Plant plant) {
    auto& left = detail::plants[static_cast<std::size_t>(plant)];
    std::int64_t now = left.load(std::memory_order_acquire);
    while (now > 0 && !left.compare_exchange_weak(now, now - 1, std::memory_order_acq_rel)) {
    }
    return now != 0;
}
/// True when the switch was planted with 1 + `number`; counts nothing down.
[[nodiscard]] inline bool planted_for(Plant plant, std::uint64_t number) {
    const auto& value = detail::plants[static_cast<std::size_t>(plant)];
    return value.load(std::memory_order_acquire) == static_cast<std::int64_t>(number) + 1;
}
inline void plant(Plant plant, std::int64_t times) {
    detail::plants[static_cast<std::size_t>(plant)].store(times, std::memory_order_release);
}
/// Plants for the life of a scope.
class Planted {
public:
    explicit Planted(Plant which, std::int64_t times = -1) : which_(which) { plant(which_, times); }
    ~Planted() { plant(which_, 0); }
    Planted(const Planted&) = delete;
    Planted& operator=(const Planted&) = delete;

private:
    Plant which_;
};
inline constexpr bool test_switches = true;

#else

[[nodiscard]] constexpr bool planted(Plant) { return false; }
[[nodiscard]] constexpr bool planted_for(Plant, std::uint64_t) { return false; }
inline constexpr bool test_switches = false;

#endif

}  // namespace penumbra
