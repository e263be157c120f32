// Resident memory of this process, and of parts of it, as the kernel counts it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/range.hpp"
#include "base/result.hpp"

namespace penumbra::bench {

struct Resident {
    std::uint64_t total = 0;  ///< bytes: the sum of Rss over /proc/self/smaps
    /// The largest mappings: name or address range, and bytes.
    std::vector<std::pair<std::string, std::uint64_t>> largest;
};
[[nodiscard]] Result<Resident> resident_memory();

/// Bytes of `range` that are present in this process's page tables.
[[nodiscard]] Result<std::uint64_t> resident_bytes(HvpRange range);

}  // namespace penumbra::bench
