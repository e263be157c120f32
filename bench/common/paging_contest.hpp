// The benchmark `paging`, by one kind of accessor: both sides set up, each row's rounds run in turns.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "bench/common/interrupts.hpp"
#include "bench/common/kernel_files.hpp"
#include "bench/common/kernel_swap.hpp"
#include "bench/common/paging_child.hpp"
#include "bench/common/paging_result.hpp"
#include "bench/common/report.hpp"

namespace penumbra::bench {

struct PagingPlan {
    PagingAccessor accessor = PagingAccessor::host;
    unsigned rounds = 5;
    std::string compressor;
};

/// The compressor with which the kernel's swap is faster; tells what each took in a note. Needs root and zram.
[[nodiscard]] Result<std::string> choose_compressor(const Interrupts& interrupts, Report& report);

class PagingContest {
public:
    /// Sets up the kernel's side, finds its pool's peak, then sets up Penumbra's with the same memory.
    [[nodiscard]] static Result<std::unique_ptr<PagingContest>> create(PagingPlan plan, const Interrupts& interrupts,
                                                                       Report& report);
    [[nodiscard]] Result<> run(const PagingRow& row);
    /// Adds what was seen of both sides' memory to the report.
    [[nodiscard]] Result<> finish();

private:
    PagingContest(PagingPlan plan, ZramSwap swap, SavedSetting page_cluster, Report& report)
        : plan_(std::move(plan)), swap_(std::move(swap)), page_cluster_(std::move(page_cluster)), report_(report) {}
    [[nodiscard]] Result<> set_up(const Interrupts& interrupts);
    /// Also the pass that brings the kernel's side to rest.
    [[nodiscard]] Result<std::string> choose_page_cluster(const PagingTask& task);
    [[nodiscard]] std::string full_name(const PagingRow& row) const {
        return std::string{name_of(plan_.accessor)} + "." + row.name;
    }

    const PagingPlan plan_;
    ZramSwap swap_;  // outlives the children
    SavedSetting page_cluster_;
    Report& report_;
    std::unique_ptr<PagingChild> kernel_;
    std::unique_ptr<PagingChild> penumbra_;
    std::uint64_t pool_peak_ = 0;
    std::uint64_t budget_ = 0;
};

}  // namespace penumbra::bench
