// What one table did since it was made.
#pragma once

#include <cstdint>

#include "base/counters.hpp"
#include "base/striped_counter.hpp"

namespace penumbra::mmu {

/// `mapped` - `zapped` is what is present, and can be compared with the world at quiet moments. What a fault or a zap
/// counts it counts in a cache line of its own thread.
struct TableCounters {
    StripedCounter mapped;  ///< pages that became present
    StripedCounter zapped;  ///< pages that were present and were dropped
    StripedCounter faults;  ///< faults handled for this table
    Counter retries;        ///< faults that met an invalidation and began again
    Counter tlb_flushes;    ///< committed flush batches
    Counter stale_faults;   ///< touches through an entry that named an absent page: must stay 0
    Counter splits;         ///< large leaves replaced by a table
    Counter collapses;      ///< tables replaced by a large leaf
};

/// Counts of one operation over many entries, added to the table's at its end.
class TableTally {
public:
    struct Count {
        std::uint64_t value = 0;
        void add(std::uint64_t n = 1) { value += n; }
    };
    explicit TableTally(TableCounters& total) : total_(total) {}
    ~TableTally() { settle(); }
    TableTally(const TableTally&) = delete;
    TableTally& operator=(const TableTally&) = delete;

    void settle() {
        if (mapped.value != 0) total_.mapped.add(mapped.value);
        if (zapped.value != 0) total_.zapped.add(zapped.value);
        mapped.value = 0;
        zapped.value = 0;
    }

    Count mapped;
    Count zapped;

private:
    TableCounters& total_;
};

}  // namespace penumbra::mmu
