#include "bench/common/paging_result.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>

namespace penumbra::bench {

double PagingRounds::median_seconds() const {
    std::vector<double> seconds;
    for (const PagingRound& round : rounds) seconds.push_back(round.seconds);
    std::ranges::sort(seconds);
    const std::size_t middle = seconds.size() / 2;
    return seconds.size() % 2 != 0 ? seconds[middle] : (seconds[middle - 1] + seconds[middle]) / 2;
}

PagingRound PagingRounds::sum() const {
    PagingRound sum;
    for (const PagingRound& round : rounds) {
        sum.seconds += round.seconds;
        sum.cpu += round.cpu;
        sum.counts.faults += round.counts.faults;
        sum.counts.swap_ins += round.counts.swap_ins;
        sum.counts.rescued += round.counts.rescued;
        sum.counts.prefetched += round.counts.prefetched;
    }
    return sum;
}

void add_paging_result(Report& report, const PagingRow& row, const PagingResult& result) {
    constexpr double mib = 1 << 20;
    const PagingRound theirs = result.kernel.sum();
    const PagingRound ours = result.penumbra.sum();
    const double touches = row.task.touches;
    const double all = touches * static_cast<double>(result.penumbra.rounds.size());
    const double our_time = result.penumbra.median_seconds();
    const double their_time = result.kernel.median_seconds();
    report.add(Row{result.name, touches / our_time, "touches/s", touches / their_time, row.speed, Better::higher});
    report.add(Row{result.name + ".cpu", per_touch_us(ours.cpu.total(), all), "CPU us/touch",
                   per_touch_us(theirs.cpu.total(), all), row.cpu, Better::lower});
    const auto tell = [&](const char* what, double value, const char* unit, std::optional<double> baseline = {}) {
        report.add(Row{result.name + what, value, unit, baseline, {}, Better::lower});
    };
    const auto number = [](std::uint64_t n) { return static_cast<double>(n); };
    tell(".time", per_touch_us(our_time, touches), "us/touch", per_touch_us(their_time, touches));
    tell(".faults", number(ours.counts.faults) / ours.seconds, "faults/s",
         number(theirs.counts.faults) / theirs.seconds);
    tell(".swap_ins", number(ours.counts.swap_ins) / all, "pages/touch", number(theirs.counts.swap_ins) / all);
    tell(".rescued", number(ours.counts.rescued) / all, "pages/touch");
    tell(".prefetched", number(ours.counts.prefetched) / all, "pages/touch");
    const PagingPlaces& places = result.penumbra.rounds.back().places;
    tell(".resident_at_end", number(places.resident_pages * page_bytes) / mib, "MiB");
    tell(".pool_at_end", number(places.pool_bytes) / mib, "MiB");
    report.add(Side{result.name + ": Penumbra", "whole process and kswapd", ours.cpu});
    report.add(Side{result.name + ": kernel", result.kernel_settings, theirs.cpu});
}

void tell_paging_round(const std::string& who, const PagingTask& task, const PagingRound& round) {
    fmt::print(stderr, "  {:<9} {:>7.3f} us/touch, CPU {:>7.3f}, faults {}, swap-ins {}, rescued {}, prefetched {}\n",
               who, per_touch_us(round.seconds, task.touches), per_touch_us(round.cpu.total(), task.touches),
               round.counts.faults, round.counts.swap_ins, round.counts.rescued, round.counts.prefetched);
}

}  // namespace penumbra::bench
