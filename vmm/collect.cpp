#include "vmm/collect.hpp"

#include <sys/utsname.h>

#include <fstream>
#include <string>
#include <utility>

#include "vmm/control/host_facts.hpp"

namespace penumbra::vmm {

namespace {

TableReport table_report(const mmu::TableCounters& counters) {
    return {counters.mapped.get(),  counters.zapped.get(),      counters.faults.get(),
            counters.retries.get(), counters.tlb_flushes.get(), counters.stale_faults.get()};
}

EnvironmentReport environment(Machine& machine) {
    EnvironmentReport report;
    utsname names{};
    if (::uname(&names) == 0) report.kernel = names.release;
    const RunOptions& options = machine.options();
    report.kvm_flavour = name_of(kvm_flavour());
    report.backend = options.backend == Backend::kvm ? "kvm" : "host-threads";
    report.guest = options.runs_linux() ? "linux" : "freestanding";
    report.take_out = machine.memory().take_out() == TakeOutMode::move ? "move" : "copy";
    report.cpus = options.cpus;
    report.seed = options.seed;
    return report;
}

std::uint64_t resident_pages(const PagerState& state) {
    const std::uint64_t pages = state.budget.pages();
    const std::uint64_t limbo = state.limbo->used();
    return pages > limbo ? pages - limbo : 0;
}

std::vector<TierReport> tier_reports(const PagerState& state) {
    std::vector<TierReport> tiers;
    const std::uint64_t limbo = state.limbo->used();
    tiers.push_back({"limbo", limbo, limbo << page_shift});
    if (state.compressed)
        tiers.push_back({state.compressed->codec() == Codec::lz4 ? "lz4" : "zstd", state.compressed->pages(),
                         state.compressed->charged_bytes()});
    if (const FileTier* file = state.slow.file()) tiers.push_back({"file", file->pages(), file->pages() << page_shift});
    if (const RemoteTier* remote = state.slow.remote())
        tiers.push_back({"remote", remote->pages(), remote->pages() << page_shift});
    return tiers;
}

AcceleratorReport accelerator_report(const Accelerator& accelerator, MemorySystem& memory) {
    const Accelerator::Stats stats = accelerator.stats();
    AcceleratorReport report;
    report.commands = stats.commands;
    report.bytes = stats.bytes;
    report.page_requests = stats.page_requests;
    report.page_requests_out = stats.page_requests_out;
    report.tlb = {memory.device_table()->tlb().fills(), memory.device_table()->tlb().flushes()};
    ProcessesReport& processes = report.processes;
    processes.commands = stats.process_commands;
    processes.faults = stats.process_faults;
    processes.guest_faults = stats.guest_faults;
    processes.guest_requests = stats.guest_requests;
    processes.waits = stats.waits;
    processes.cooperative = stats.cooperative;
    processes.broken_watches = stats.broken_watches;
    processes.broken_in_use = stats.broken_in_use;
    processes.tlb = {memory.context_tlb().fills(), memory.context_tlb().flushes()};
    return report;
}

}  // namespace

std::uint64_t pinned_guest_bytes(std::uint64_t io_buffer_bytes) {
    std::ifstream status("/proc/self/status");
    std::uint64_t kilobytes = 0;
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("VmLck:") || line.starts_with("VmPin:")) kilobytes += std::stoull(line.substr(6));
    }
    const std::uint64_t bytes = kilobytes * 1024;
    return bytes > io_buffer_bytes ? bytes - io_buffer_bytes : 0;
}

RunReport collect_report(Machine& machine) {
    MemorySystem& memory = machine.memory();
    const PagerState& state = memory.state();
    RunReport report;
    report.environment = environment(machine);
    report.memory.guest_bytes = machine.options().memory_bytes;
    report.memory.budget_bytes = state.budget.limit();
    report.memory.peak_charged_bytes = state.budget.peak();
    report.memory.io_buffer_bytes = state.slow.file() != nullptr ? state.slow.file()->io_buffer_bytes() : 0;
    report.memory.pinned_bytes =
        pinned_guest_bytes(report.memory.io_buffer_bytes) + (memory.pages_under_long_io() << page_shift);
    report.pager.faults = state.stats.faults.get();
    report.pager.swapped_out_pages = state.stats.swapped_out.get();
    report.pager.swapped_in_pages = state.stats.swapped_in.get();
    report.pager.rescued_pages = state.stats.rescued.get();
    report.pager.zero_pages = state.stats.zero_pages.get();
    report.pager.reclaim_passes = state.stats.reclaim_passes.get();
    report.pager.handler_latency = LatencySummary::of(state.stats.handler_latency);
    if (machine.touches() != nullptr) report.pager.guest_latency = LatencySummary::of(machine.touches()->latency());
    report.tiers = tier_reports(state);
    const bridge::AddressSpace::Stats& bridge = memory.space().stats();
    for (std::size_t i = 0; i < bridge::reason_count; ++i) {
        report.invalidations.emplace_back(name_of(static_cast<bridge::Reason>(i)), bridge.pages_by_reason[i].get());
    }
    report.batches = bridge.batches.get();
    report.tables.emplace_back("ept", table_report(memory.ept().counters()));
    if (memory.device_table() != nullptr) {
        report.tables.emplace_back("accelerator", table_report(memory.device_table()->counters()));
    }
    if (memory.io_table() != nullptr) {
        report.tables.emplace_back("io", table_report(memory.io_table()->counters()));
    }
    if (const Accelerator* accelerator = machine.accelerator()) {
        report.accelerator = accelerator_report(*accelerator, memory);
    }
    if (const auto guest = machine.port().last_report()) {
        report.guest.pages_verified = guest->pages_verified;
        report.guest.mismatches = guest->mismatches;
        report.guest.passes = guest->passes;
        report.guest.min_verifications = guest->min_verifications;
        const abi::Report::Svm& svm = guest->svm;
        report.guest.svm = {svm.changes,       svm.in_use,        svm.commands, svm.bytes,
                            svm.page_requests, svm.announcements, svm.empty};
        report.accelerator.mismatches = guest->accelerator_mismatches;
    }
    for (DeviceFigures& device : machine.device_figures()) {
        report.devices.push_back({std::move(device.device), std::move(device.numbers)});
    }
    const MachineStatus status = machine.status();
    report.guest.resets = status.resets;
    report.guest.exit_status = static_cast<std::int64_t>(status.exit_status.value_or(~std::uint64_t{0}));
    return report;
}

ProgressState collect_progress(Machine& machine) {
    const PagerState& state = machine.memory().state();
    ProgressState progress;
    progress.fraction = -1;
    if (const auto guest = machine.port().last_report()) {
        progress.pages_verified = guest->pages_verified;
        // A run that ends by --time has no known amount of work.
        if (guest->work_total > 0 && machine.options().passes > 0) {
            progress.fraction = static_cast<double>(guest->work_done) / static_cast<double>(guest->work_total);
        }
    }
    progress.resident_bytes = resident_pages(state) << page_shift;
    progress.limbo_bytes = std::uint64_t{state.limbo->used()} << page_shift;
    progress.lz4_bytes = state.compressed ? state.compressed->charged_bytes() : 0;
    progress.slow_bytes = ((state.slow.file() != nullptr ? state.slow.file()->pages() : 0) +
                           (state.slow.remote() != nullptr ? state.slow.remote()->pages() : 0))
                          << page_shift;
    progress.faults = state.stats.faults.get();
    return progress;
}

}  // namespace penumbra::vmm
