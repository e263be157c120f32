// Rows of the benchmark `tables` about what stands around a table: a device's TLB, and the bridge.
#pragma once

#include <cstdint>
#include <span>

#include "bench/common/report.hpp"

namespace penumbra::bench {

/// `tlb_hit`: each number of `order`, modulo a few entries, is looked up once. `sink` takes what was found.
void report_tlb_hit(Report& report, std::span<const std::uint32_t> order, std::uint64_t& sink);
/// `invalidate_100k`.
void report_invalidate(Report& report);

}  // namespace penumbra::bench
