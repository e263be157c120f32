// CPU time as getrusage(2) tells it: user and system apart, all threads of the process or one.
#pragma once

#include <sys/resource.h>

namespace penumbra::bench {

/// Seconds.
struct CpuTime {
    double user = 0;
    double system = 0;

    [[nodiscard]] double total() const { return user + system; }
    [[nodiscard]] static CpuTime of_process() { return of(RUSAGE_SELF); }
    [[nodiscard]] static CpuTime of(int who) {
        rusage usage{};
        (void)::getrusage(who, &usage);
        const auto seconds = [](const timeval& t) {
            return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
        };
        return {seconds(usage.ru_utime), seconds(usage.ru_stime)};
    }
    friend CpuTime operator-(CpuTime a, CpuTime b) { return {a.user - b.user, a.system - b.system}; }
    CpuTime& operator+=(CpuTime other) {
        user += other.user;
        system += other.system;
        return *this;
    }
};

}  // namespace penumbra::bench
