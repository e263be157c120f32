// Two ways to do the same, timed in turns within one process.
#pragma once

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "bench/common/cpu_time.hpp"
#include "bench/common/report.hpp"

namespace penumbra::bench {

/// The best of each side: what others do to the machine only ever adds.
struct Pair {
    double value = 1e30;
    double baseline = 1e30;
    CpuTime value_cpu;
    CpuTime baseline_cpu;
};

inline constexpr unsigned compare_rounds = 9;

/// CPU time of all threads: when others have the processor, nobody is charged.
[[nodiscard]] inline double cpu_nanoseconds() {
    timespec now{};
    (void)::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

/// One run of `fn`, which does so many units: `best` in nanoseconds each.
template <class Fn>
void timed(double& best, CpuTime& cpu, std::uint64_t units, Fn&& fn) {
    const CpuTime before = CpuTime::of_process();
    const double start = cpu_nanoseconds();
    fn();
    const double end = cpu_nanoseconds();
    cpu += CpuTime::of_process() - before;
    best = std::min(best, (end - start) / static_cast<double>(units));
}

/// Nine rounds of both sides, who goes first in turns. `prepare` runs before each round and is not timed.
template <class Prepare, class Value, class Baseline>
[[nodiscard]] Pair compare(std::uint64_t units, Prepare&& prepare, Value&& value, Baseline&& baseline) {
    Pair pair;
    for (unsigned round = 0; round < compare_rounds; ++round) {
        prepare();
        if (round % 2 == 0) timed(pair.baseline, pair.baseline_cpu, units, baseline);
        timed(pair.value, pair.value_cpu, units, value);
        if (round % 2 != 0) timed(pair.baseline, pair.baseline_cpu, units, baseline);
    }
    return pair;
}

/// What each side did, in words.
struct PairText {
    std::string value;
    std::string baseline;
};

inline void add_pair(Report& report, const std::string& name, const Pair& pair, double target, const PairText& text) {
    report.add(Row{name, pair.value, "ns each", pair.baseline, target, Better::lower});
    report.add(Side{name + ": Penumbra", text.value, pair.value_cpu});
    report.add(Side{name + ": bare", text.baseline, pair.baseline_cpu});
}

}  // namespace penumbra::bench
