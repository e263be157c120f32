// What the benchmark `paging` found out about one row, and how it is told.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bench/common/paging_child.hpp"
#include "bench/common/report.hpp"

namespace penumbra::bench {

struct PagingRow {
    std::string name;
    PagingTask task;
    std::optional<double> speed;  ///< target: the kernel's time over ours
    std::optional<double> cpu;    ///< target: our CPU seconds over the kernel's
};

/// One side's rounds of one row.
struct PagingRounds {
    std::vector<PagingRound> rounds;

    [[nodiscard]] double median_seconds() const;
    /// Seconds, CPU time and counts.
    [[nodiscard]] PagingRound sum() const;
};

struct PagingResult {
    std::string name;  ///< of the accessor and the row
    PagingRounds kernel;
    PagingRounds penumbra;
    std::string kernel_settings;
};

void add_paging_result(Report& report, const PagingRow& row, const PagingResult& result);

[[nodiscard]] inline double per_touch_us(double seconds, double touches) { return seconds * 1e6 / touches; }
/// For who is waiting: one line to standard error.
void tell_paging_round(const std::string& who, const PagingTask& task, const PagingRound& round);

}  // namespace penumbra::bench
