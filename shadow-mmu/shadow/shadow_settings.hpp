// What a shadow table is given, and what it counts.
#pragma once

#include <chrono>
#include <cstddef>

#include "base/counters.hpp"
#include "shadow-mmu/shadow/context_tlb.hpp"
#include "shadow-mmu/shadow/progress.hpp"
#include "shadow-mmu/shadow/watch_port.hpp"

namespace penumbra::mmu {

struct ShadowLimits {
    std::size_t pages = 1024;      ///< shadow pages of 12 KiB; the oldest goes when there are more. At least 16
    std::size_t cached_roots = 4;  ///< per context, besides the current one
    unsigned attempts = 16;        ///< of one fault
    unsigned flood = 3;            ///< writes to a table without a use that end its shadow pages
    std::chrono::milliseconds hold_off{10'000};  ///< that one invalidation may hold a fault off
    ProgressLimits progress;
};

struct ShadowPorts {
    GuestMemory& memory;
    WatchPort& watches;
    ContextTlb& tlb;
};

struct ShadowStats {
    Counter faults, installed, retries, guest_faults;
    Counter writes;         ///< messages
    Counter broken;         ///< watches that a write, or the table's own flag updates, ended
    Counter broken_in_use;  ///< those of them that found an access in flight, and waited for it
    Counter waits;          ///< answers `wait`
    Counter cooperative;    ///< contexts that became it
    Counter evicted;        ///< shadow pages dropped to stay within the quota
    Counter floods;         ///< tables whose shadow pages were dropped for being written unused
    Counter synced;         ///< entries of unwatched tables that were read again, and stayed
    Counter flushes;
};

}  // namespace penumbra::mmu
