// Which CPUs a latency benchmark uses, and putting threads there.
#pragma once

#include <sched.h>
#include <sys/types.h>

#include <cstdint>
#include <string>

#include "base/result.hpp"

namespace penumbra::bench {

enum class Placement : std::uint8_t { faulting_cpu, anywhere, other_cpu };

/// The CPU of the thread that faults, and another one; both from the set this process may use.
struct Cpus {
    cpu_set_t all{};
    unsigned faulting = 0;
    unsigned other = 0;

    /// An error where this process has one CPU only.
    [[nodiscard]] static Result<Cpus> choose() {
        Cpus cpus;
        if (::sched_getaffinity(0, sizeof cpus.all, &cpus.all) != 0) return fail_errno("read", "the CPU affinity");
        if (CPU_COUNT(&cpus.all) < 2) return fail("compare placements", "one CPU", "run where two CPUs are allowed");
        while (!CPU_ISSET(cpus.faulting, &cpus.all)) ++cpus.faulting;
        cpus.other = cpus.faulting + 1;
        while (!CPU_ISSET(cpus.other, &cpus.all)) ++cpus.other;
        return cpus;
    }
    /// Puts a thread of this process; 0 is the calling one.
    void place(pid_t thread, Placement placement) const {
        cpu_set_t set = all;
        if (placement != Placement::anywhere) {
            CPU_ZERO(&set);
            CPU_SET(placement == Placement::faulting_cpu ? faulting : other, &set);
        }
        (void)::sched_setaffinity(thread, sizeof set, &set);
    }
};

/// The one thread of this process with that name, or -1.
[[nodiscard]] pid_t thread_named(const std::string& name);

}  // namespace penumbra::bench
