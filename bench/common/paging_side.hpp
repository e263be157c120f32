// One side of the benchmark `paging`, in a process of its own, and its end of the conversation with the benchmark: a
// line "ready" once memory is filled; then for each byte read from standard input the touches of the shared list are
// made and a PagingRound is answered, until standard input ends.
#pragma once

#include <cstdint>
#include <istream>
#include <ostream>
#include <string>
#include <vector>

#include "bench/common/cpu_time.hpp"
#include "bench/common/paging_memory.hpp"

namespace penumbra::bench {

enum class PagingAccessor : std::uint8_t { host, guest };
[[nodiscard]] constexpr const char* name_of(PagingAccessor accessor) {
    return accessor == PagingAccessor::host ? "host" : "guest";
}

struct PagingSideOptions {
    PagingAccessor accessor = PagingAccessor::host;
    std::uint64_t budget_bytes = 0;  ///< 0: the kernel's swap
    int list = -1;                   ///< descriptor of the shared touch list
    std::string cgroup;              ///< folder of the memory cgroup to be in

    [[nodiscard]] std::vector<std::string> arguments() const;
    /// False: not one of these.
    [[nodiscard]] bool take(std::string_view argument);
    [[nodiscard]] bool is_side() const { return list >= 0; }
};

/// What one list took.
struct PagingRound {
    double seconds = 0;
    CpuTime cpu;  ///< of all threads
    PagingCounts counts;
    PagingPlaces places;  ///< at the end
    std::uint64_t mismatches = 0;
    std::uint64_t first_bad = 0;
};
std::ostream& operator<<(std::ostream& out, const PagingRound& round);
std::istream& operator>>(std::istream& in, PagingRound& round);

/// The whole of the process; its exit status.
[[nodiscard]] int run_paging_side(const PagingSideOptions& options);

}  // namespace penumbra::bench
