// The benchmark `paging`'s hold on one of its sides: a child process in a memory cgroup of its own.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "base/mapped_region.hpp"
#include "base/unique_fd.hpp"
#include "bench/common/interrupts.hpp"
#include "bench/common/memory_cgroup.hpp"
#include "bench/common/paging_patterns.hpp"
#include "bench/common/paging_side.hpp"

namespace penumbra::bench {

/// One list of touches.
struct PagingTask {
    Pattern pattern = Pattern::sequential;
    abi::TouchKind kind = abi::TouchKind::read;
    std::uint32_t touches = paging_pages;
};

class PagingChild {
public:
    /// Starts the side and waits until its memory is filled. `interrupts` outlives it.
    [[nodiscard]] static Result<std::unique_ptr<PagingChild>> start(PagingSideOptions side,
                                                                    const MemoryCgroupOptions& cgroup,
                                                                    const Interrupts& interrupts);
    PagingChild(const PagingChild&) = delete;
    PagingChild& operator=(const PagingChild&) = delete;
    /// Ends the process.
    ~PagingChild();

    /// Has the touches made. CPU time of the kernel's reclaim threads and the machine's swap-ins meanwhile are added.
    /// An error when a page did not hold what it must.
    [[nodiscard]] Result<PagingRound> run(const PagingTask& task, std::uint32_t round);
    [[nodiscard]] const MemoryCgroup& cgroup() const { return cgroup_; }

private:
    PagingChild(MemoryCgroup cgroup, const Interrupts& interrupts)
        : cgroup_(std::move(cgroup)), interrupts_(interrupts) {}
    [[nodiscard]] Result<> spawn(PagingSideOptions side);
    [[nodiscard]] Result<std::string> next_line();

    MemoryCgroup cgroup_;
    const Interrupts& interrupts_;
    TouchLists lists_;
    MappedRegion list_;
    pid_t child_ = 0;
    UniqueFd to_;
    UniqueFd from_;
    std::string read_;  // beyond the last line
};

}  // namespace penumbra::bench
