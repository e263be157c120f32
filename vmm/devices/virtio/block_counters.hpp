// What one disk did, as named numbers.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "base/counters.hpp"

namespace penumbra::vmm {

/// Thread-safe. Requests count when they end, whatever their status.
struct BlockCounters {
    Counter reads;
    Counter writes;
    Counter flushes;
    Counter discards;
    Counter write_zeroes;
    Counter read_bytes;  ///< of requests that succeeded, as the next
    Counter written_bytes;
    Counter wanted_pages;     ///< guest pages that were absent when a request came to them
    Counter kernel_requests;  ///< sent to the kernel
    Counter bounced;          ///< of those, through a buffer: guest memory was misaligned for direct I/O
    Counter bounced_bytes;
    Counter errors;            ///< requests that ended with IOERR
    Counter refused;           ///< requests that ended with UNSUPP
    LatencyHistogram latency;  ///< from taking a request to giving it back, in nanoseconds

    [[nodiscard]] std::vector<std::pair<std::string_view, std::uint64_t>> named() const;
};

}  // namespace penumbra::vmm
