// What one network card did, as named numbers.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "base/counters.hpp"
#include "vmm/devices/net/net_link.hpp"

namespace penumbra::vmm {

/// Thread-safe. Bytes are the frames', without headers.
struct NetCounters {
    Counter received_frames;  ///< that the guest got
    Counter received_bytes;
    Counter received_merged;   ///< of those, in more than one of the guest's buffers
    Counter received_dropped;  ///< no buffer of the guest, or all of them, could hold the frame
    Counter sent_frames;       ///< that the link took
    Counter sent_bytes;
    Counter sent_refused;  ///< lengths or headers that break the rules
    Counter sent_waits;    ///< times the link took no more for a while
    Counter wanted_pages;  ///< guest pages that were absent when a frame came to them

    [[nodiscard]] std::vector<std::pair<std::string_view, std::uint64_t>> named(const NetLinkCounters& link) const;
};

}  // namespace penumbra::vmm
