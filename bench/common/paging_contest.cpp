#include "bench/common/paging_contest.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include "bench/common/payload_pages.hpp"

namespace penumbra::bench {

namespace {

constexpr std::uint64_t mib = 1ULL << 20;
constexpr std::uint64_t resident_bytes = 128 * mib;
constexpr std::uint64_t swap_bytes = 1024 * mib;
/// For the code, stacks, page tables (the host's, KVM's and Penumbra's) and page states of Penumbra's process.
constexpr std::uint64_t penumbra_allowance = 16 * mib;
constexpr unsigned kernel_swappiness = 100;
constexpr const char* page_cluster_file = "/proc/sys/vm/page-cluster";

constexpr PagingTask read_all{Pattern::sequential, abi::TouchKind::read, paging_pages};
constexpr PagingTask write_all{Pattern::sequential, abi::TouchKind::write, paging_pages};
constexpr PagingTask read_anywhere{Pattern::random, abi::TouchKind::read, paging_pages};

[[nodiscard]] Result<std::unique_ptr<PagingChild>> start_kernel(PagingAccessor accessor, const Interrupts& interrupts) {
    PagingSideOptions side;
    side.accessor = accessor;
    return PagingChild::start(std::move(side), {resident_bytes, kernel_swappiness}, interrupts);
}

}  // namespace

Result<std::string> choose_compressor(const Interrupts& interrupts, Report& report) {
    PENUMBRA_TRY_ASSIGN(const std::vector<std::string> names, ZramSwap::compressors());
    // Into the page cache, which is charged to who reads first: not to one of the sides.
    std::uint32_t page = 0;
    PENUMBRA_TRY(LibraryReader{}.read([&](PageView) { return ++page < paging_pages; }));
    std::string best;
    double best_seconds = 0;
    for (const std::string& name : names) {
        PENUMBRA_TRY_ASSIGN(const ZramSwap swap, ZramSwap::create(name, swap_bytes));
        PENUMBRA_TRY_ASSIGN(const auto child, start_kernel(PagingAccessor::host, interrupts));
        double seconds = 0;
        for (const PagingTask& task : {write_all, read_all, read_anywhere}) {
            PENUMBRA_TRY_ASSIGN(const PagingRound first, child->run(task, 0));
            PENUMBRA_TRY_ASSIGN(const PagingRound second, child->run(task, 1));
            const PagingRound& better = first.seconds < second.seconds ? first : second;
            seconds += better.seconds;
            tell_paging_round(name, task, better);
        }
        PENUMBRA_TRY_ASSIGN(const std::uint64_t peak, swap.pool_peak());
        report.note(fmt::format("zram with {}: {:.2f} us per touch, pool {} MiB", name,
                                per_touch_us(seconds, 3 * paging_pages), peak / mib));
        if (best.empty() || seconds < best_seconds) {
            best = name;
            best_seconds = seconds;
        }
    }
    return best;
}

Result<std::unique_ptr<PagingContest>> PagingContest::create(PagingPlan plan, const Interrupts& interrupts,
                                                             Report& report) {
    PENUMBRA_TRY_ASSIGN(SavedSetting page_cluster, SavedSetting::open(page_cluster_file));
    PENUMBRA_TRY_ASSIGN(ZramSwap swap, ZramSwap::create(plan.compressor, swap_bytes));
    std::unique_ptr<PagingContest> contest(
        new PagingContest(std::move(plan), std::move(swap), std::move(page_cluster), report));
    PENUMBRA_TRY(contest->set_up(interrupts));
    return contest;
}

Result<> PagingContest::set_up(const Interrupts& interrupts) {
    fmt::print(stderr, "{}: setting up ...\n", name_of(plan_.accessor));
    PENUMBRA_TRY_ASSIGN(kernel_, start_kernel(plan_.accessor, interrupts));
    for (const PagingTask& task : {read_all, write_all, read_anywhere}) PENUMBRA_TRY(kernel_->run(task, 0));
    PENUMBRA_TRY_ASSIGN(pool_peak_, swap_.pool_peak());
    budget_ = (resident_bytes + pool_peak_) / mib * mib;
    PagingSideOptions side;
    side.accessor = plan_.accessor;
    side.budget_bytes = budget_;
    PENUMBRA_TRY_ASSIGN(penumbra_, PagingChild::start(std::move(side), {budget_ + penumbra_allowance, 0}, interrupts));
    // The same lists as the kernel's side has had, so that pages hold the same.
    for (const PagingTask& task : {read_all, write_all, read_anywhere}) PENUMBRA_TRY(penumbra_->run(task, 0));
    return {};
}

Result<std::string> PagingContest::choose_page_cluster(const PagingTask& task) {
    std::string best;
    double best_seconds = 0;
    PENUMBRA_TRY(kernel_->run(task, 0));
    for (const char* value : {"3", "0"}) {
        PENUMBRA_TRY(page_cluster_.set(value));
        PENUMBRA_TRY_ASSIGN(const PagingRound round, kernel_->run(task, 0));
        if (!best.empty() && round.seconds >= best_seconds) continue;
        best = value;
        best_seconds = round.seconds;
    }
    PENUMBRA_TRY(page_cluster_.set(best));
    return best;
}

Result<> PagingContest::run(const PagingRow& row) {
    fmt::print(stderr, "{} ...\n", full_name(row));
    PENUMBRA_TRY_ASSIGN(const std::string page_cluster, choose_page_cluster(row.task));
    PENUMBRA_TRY(penumbra_->run(row.task, 0));
    PagingResult result{full_name(row), {}, {}, {}};
    for (unsigned round = 1; round <= plan_.rounds; ++round) {
        const bool kernel_first = round % 2 != 0;
        for (const bool kernel_now : {kernel_first, !kernel_first}) {
            PENUMBRA_TRY_ASSIGN(PagingRound figures, (kernel_now ? *kernel_ : *penumbra_).run(row.task, round));
            tell_paging_round(kernel_now ? "kernel" : "penumbra", row.task, figures);
            (kernel_now ? result.kernel : result.penumbra).rounds.push_back(std::move(figures));
        }
    }
    result.kernel_settings =
        fmt::format("{}, vm.page-cluster {}, whole process and kswapd", plan_.compressor, page_cluster);
    add_paging_result(report_, row, result);
    return {};
}

Result<> PagingContest::finish() {
    PENUMBRA_TRY_ASSIGN(const std::uint64_t peak, swap_.pool_peak());
    PENUMBRA_TRY_ASSIGN(const std::uint64_t used, penumbra_->cgroup().used());
    PENUMBRA_TRY_ASSIGN(const std::uint64_t swapped, penumbra_->cgroup().swapped());
    const char* const accessor = name_of(plan_.accessor);
    report_.note(
        fmt::format("{}, kernel: cgroup of {} MiB, swappiness {}; zram pool of {} with {}: peak {:.1f} MiB "
                    "({:.1f} at the end).",
                    accessor, resident_bytes / mib, kernel_swappiness, "1 GiB", plan_.compressor,
                    static_cast<double>(pool_peak_) / mib, static_cast<double>(peak) / mib));
    report_.note(fmt::format(
        "{}, Penumbra: one budget of {} MiB; cgroup of that and {} MiB for code, stacks and "
        "tables, at the end {:.1f} MiB in use, in the kernel's swap {} KiB.",
        accessor, budget_ / mib, penumbra_allowance / mib, static_cast<double>(used) / mib, swapped / 1024));
    if (swapped != 0) return fail("keep out of the kernel's swap", "Penumbra's side");
    return {};
}

}  // namespace penumbra::bench
