// Wrong shadow tables that test builds can switch on, one at a time, to prove that the tests notice each. Elsewhere
// `shadow_bug()` is the constant false and the code behind it vanishes (as in base/planted.hpp).
#pragma once

#include <atomic>
#include <cstdint>

namespace penumbra::mmu {

enum class ShadowBug : std::uint8_t {
    none,
    skip_flush,                ///< a zapped translation stays in the device's TLB
    skip_drain,                ///< a zap does not wait for accesses in flight
    skip_revalidation,         ///< entries are not read again after the watch began
    skip_sequence_recheck,     ///< a fault installs although the host took a page meanwhile
    skip_epoch_recheck,        ///< a fault installs although a watch ended meanwhile
    missed_child_sync,         ///< an upper table is rewritten, and what hangs below stays
    role_without_access,       ///< a table below two parents has one shadow, whatever the parents permit
    role_without_mode,         ///< a table has one shadow for contexts of different modes
    role_without_tracking,     ///< a watched table leads a watched context to shadows of unwatched ones
    stale_root_reuse,          ///< a root that was left is used again without reading its unwatched tables
    stale_unsync_link,         ///< an unwatched table's shadow gets a second parent without being read again
    missed_reverse_entry,      ///< of two leaves that name a host page the later is forgotten
    unwatch_before_zap,        ///< the guest's write goes on before what it makes stale is gone
    dropped_parent_link,       ///< a shadow page's second parent is not recorded
    invalidate_misses_unsync,  ///< an announcement does not look at the lowest tables
    announcement_uncounted,    ///< a fault that began before an announcement installs after it
    dirty_ignored,             ///< a leaf is writable while the guest's D flag is clear
    writable_table,            ///< a watched table may be mapped for writing
    watch_survives_eviction,   ///< an evicted table counts as watched still
    large_pieces_alike,        ///< every 4 KiB piece of a large page is its first
    supervisor_write_as_user,  ///< a leaf made writable for CR0.WP = 0 stays a user's
    slice_ignored,             ///< a page is watched again although its guest did not have its time
    old_generation_installs,   ///< a fault that began under another root installs in this one
    drop_keeps_roots,          ///< dropping everything leaves contexts their roots
    count
};

#if defined(PENUMBRA_TEST_SWITCHES)

namespace shadow_bug_detail {
inline std::atomic<ShadowBug> planted{ShadowBug::none};
}  // namespace shadow_bug_detail

[[nodiscard]] inline bool shadow_bug(ShadowBug bug) {
    return shadow_bug_detail::planted.load(std::memory_order_relaxed) == bug;
}
/// Plants for the life of a scope.
class PlantedShadowBug {
public:
    explicit PlantedShadowBug(ShadowBug bug) { shadow_bug_detail::planted.store(bug, std::memory_order_relaxed); }
    ~PlantedShadowBug() { shadow_bug_detail::planted.store(ShadowBug::none, std::memory_order_relaxed); }
    PlantedShadowBug(const PlantedShadowBug&) = delete;
    PlantedShadowBug& operator=(const PlantedShadowBug&) = delete;
};

#else

[[nodiscard]] constexpr bool shadow_bug(ShadowBug) { return false; }

#endif

}  // namespace penumbra::mmu
