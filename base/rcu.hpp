// Read-side sections and grace periods: how a lock-free walker and whoever frees what it walks get along. liburcu's
// "bulletproof" flavour: a thread registers itself at its first section, and a section costs two plain stores where
// membarrier(2) exists. (P. McKenney, M. Desnoyers et al.: "User-level implementations of read-copy update", IEEE TPDS
// 2012.)
#pragma once

#if defined(__SANITIZE_THREAD__)
#define PENUMBRA_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PENUMBRA_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define PENUMBRA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PENUMBRA_ASAN 1
#endif
#endif

// liburcu gives its functions of under ten lines to code of any licence; 0.13 knows this name for them, later releases
// also URCU_INLINE_SMALL_FUNCTIONS. Where a sanitizer looks on they are called: it would judge the library's code.
#if !defined(_LGPL_SOURCE) && !defined(PENUMBRA_TSAN) && !defined(PENUMBRA_ASAN)
#define PENUMBRA_URCU_INLINE
#define _LGPL_SOURCE  // NOLINT(bugprone-reserved-identifier)
#define URCU_INLINE_SMALL_FUNCTIONS
#endif
#include <urcu/urcu-bp.h>
#if defined(PENUMBRA_URCU_INLINE)
#undef _LGPL_SOURCE
#undef PENUMBRA_URCU_INLINE
#endif

#include "base/assert.hpp"
#include "base/schedule_point.hpp"

#if defined(PENUMBRA_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace penumbra::rcu {

namespace detail {
/// What ThreadSanitizer is told instead of the library's inner workings, which it does not see.
inline char domain = 0;
inline void readers_left() {
#if defined(PENUMBRA_TSAN)
    ::__tsan_release(&domain);
#endif
}
inline void all_readers_left() {
#if defined(PENUMBRA_TSAN)
    ::__tsan_acquire(&domain);
#endif
}
}  // namespace detail

/// What a walker found in a section stays allocated until the section ends. Nests. Inside, a thread may not sleep, nor
/// wait for an entry's owner: others wait for it.
class ReadSection {
public:
    ReadSection() {
#if defined(PENUMBRA_TEST_SWITCHES)
        if (Scheduler* simulated = scheduler()) {
            ++simulated->read_sections();
            return;
        }
#endif
        ::urcu_bp_read_lock();
    }
    ~ReadSection() {
#if defined(PENUMBRA_TEST_SWITCHES)
        if (Scheduler* simulated = scheduler()) {
            if (--simulated->read_sections() == 0) simulated->wake(&simulated->read_sections(), Scheduler::Wake::all);
            return;
        }
#endif
        detail::readers_left();
        ::urcu_bp_read_unlock();
    }
    ReadSection(const ReadSection&) = delete;
    ReadSection& operator=(const ReadSection&) = delete;
};

[[nodiscard]] inline bool in_read_section() {
#if defined(PENUMBRA_TEST_SWITCHES)
    if (Scheduler* simulated = scheduler()) return simulated->read_sections() != 0;
#endif
    return ::urcu_bp_read_ongoing() != 0;
}

/// A grace period: returns when every section that was open at the call has ended. Not inside one, and not while owning
/// anything that a reader may wait for.
inline void wait_for_readers() {
    PENUMBRA_ASSERT(!in_read_section(), "a reader waited for itself");
#if defined(PENUMBRA_TEST_SWITCHES)
    if (Scheduler* simulated = scheduler()) return simulated->wait_for_readers();
#endif
    ::urcu_bp_synchronize_rcu();
    detail::all_readers_left();
}

}  // namespace penumbra::rcu
