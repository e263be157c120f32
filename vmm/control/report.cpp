#include "vmm/control/report.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "base/unique_fd.hpp"
#include "vmm/control/json_text.hpp"
#include "vmm/control/path_checks.hpp"

namespace penumbra::vmm {

namespace {

namespace json = boost::json;

double rounded_to_milli(double number) { return std::round(number * 1000) / 1000; }

json::object latency_json(const LatencySummary& latency) {
    return {{"p50", rounded_to_milli(latency.p50)},
            {"p99", rounded_to_milli(latency.p99)},
            {"p999", rounded_to_milli(latency.p999)},
            {"max", rounded_to_milli(latency.max)}};
}

json::object pager_json(const PagerReport& pager) {
    return {{"faults", pager.faults},
            {"swapped_out_pages", pager.swapped_out_pages},
            {"swapped_in_pages", pager.swapped_in_pages},
            {"rescued_pages", pager.rescued_pages},
            {"zero_pages", pager.zero_pages},
            {"reclaim_passes", pager.reclaim_passes},
            {"fault_latency_us", json::object{{"handler", latency_json(pager.handler_latency)},
                                              {"handler_samples", pager.handler_latency.samples},
                                              {"guest", latency_json(pager.guest_latency)},
                                              {"guest_samples", pager.guest_latency.samples}}}};
}

json::object bridge_json(const RunReport& report) {
    json::object invalidations;
    for (const auto& [reason, count] : report.invalidations) invalidations[reason] = count;
    return {{"invalidations", std::move(invalidations)}, {"batches", report.batches}};
}

json::object tables_json(const RunReport& report) {
    json::object tables;
    for (const auto& [name, table] : report.tables) {
        tables[name] = json::object{{"mapped", table.mapped},           {"zapped", table.zapped},
                                    {"faults", table.faults},           {"retries", table.retries},
                                    {"tlb_flushes", table.tlb_flushes}, {"stale_faults", table.stale_faults}};
    }
    return tables;
}

json::array tiers_json(const RunReport& report) {
    json::array tiers;
    for (const TierReport& tier : report.tiers) {
        tiers.push_back(json::object{{"name", tier.name}, {"pages", tier.pages}, {"bytes", tier.bytes}});
    }
    return tiers;
}

json::object environment_json(const EnvironmentReport& environment) {
    return {{"kernel", environment.kernel},   {"kvm_flavour", environment.kvm_flavour},
            {"backend", environment.backend}, {"take_out", environment.take_out},
            {"guest", environment.guest},     {"cpus", environment.cpus},
            {"seed", environment.seed}};
}

json::object memory_json(const MemoryReport& memory) {
    return {{"guest_bytes", memory.guest_bytes},
            {"budget_bytes", memory.budget_bytes},
            {"peak_charged_bytes", memory.peak_charged_bytes},
            {"pinned_bytes", memory.pinned_bytes},
            {"io_buffer_bytes", memory.io_buffer_bytes}};
}

json::object tlb_json(const TlbReport& tlb) { return {{"fills", tlb.fills}, {"flushes", tlb.flushes}}; }

json::object processes_json(const ProcessesReport& processes) {
    return {{"commands", processes.commands},
            {"faults", processes.faults},
            {"guest_faults", processes.guest_faults},
            {"guest_requests", processes.guest_requests},
            {"waits", processes.waits},
            {"cooperative", processes.cooperative},
            {"broken_watches", processes.broken_watches},
            {"broken_in_use", processes.broken_in_use},
            {"tlb", tlb_json(processes.tlb)}};
}

json::object accelerator_json(const AcceleratorReport& accelerator) {
    return {{"commands", accelerator.commands},
            {"bytes", accelerator.bytes},
            {"page_requests", accelerator.page_requests},
            {"page_requests_out", accelerator.page_requests_out},
            {"mismatches", accelerator.mismatches},
            {"tlb", tlb_json(accelerator.tlb)},
            {"processes", processes_json(accelerator.processes)}};
}

json::object devices_json(const RunReport& report) {
    json::object devices;
    for (const DeviceReport& device : report.devices) {
        json::object numbers;
        for (const auto& [name, number] : device.numbers) numbers[name] = number;
        devices[device.name] = std::move(numbers);
    }
    return devices;
}

json::object svm_json(const GuestReport::Svm& svm) {
    return {{"changes", svm.changes},
            {"in_use", svm.in_use},
            {"commands", svm.commands},
            {"bytes", svm.bytes},
            {"page_requests", svm.page_requests},
            {"announcements", svm.announcements},
            {"empty", svm.empty}};
}

json::object guest_json(const GuestReport& guest) {
    return {{"pages_verified", guest.pages_verified},
            {"mismatches", guest.mismatches},
            {"passes", guest.passes},
            {"min_verifications", guest.min_verifications},
            {"svm", svm_json(guest.svm)},
            {"resets", guest.resets},
            {"exit_status", guest.exit_status}};
}

Result<> write_all(int fd, const std::string& text, const std::string& path) {
    std::size_t done = 0;
    while (done < text.size()) {
        const ssize_t written = ::write(fd, text.data() + done, text.size() - done);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return fail_errno("write the report", path, "free some space");
        done += static_cast<std::size_t>(written);
    }
    return {};
}

/// Gives the temporary file, made private by mkostemp, the permissions of any new file.
Result<> make_readable(int fd, const std::string& path) {
    const mode_t mask = ::umask(022);
    ::umask(mask);
    if (::fchmod(fd, 0666 & ~mask) != 0) return fail_errno("set the permissions of", path);
    return {};
}

}  // namespace

LatencySummary LatencySummary::of(const LatencyHistogram& histogram) {
    const auto us = [](std::uint64_t ns) { return static_cast<double>(ns) / 1000; };
    return {.p50 = us(histogram.quantile_ns(500)),
            .p99 = us(histogram.quantile_ns(990)),
            .p999 = us(histogram.quantile_ns(999)),
            .max = us(histogram.max_ns()),
            .samples = histogram.count()};
}

std::string to_json(const RunReport& report) {
    const json::object root{{"version", report.version},
                            {"outcome", report.outcome},
                            {"environment", environment_json(report.environment)},
                            {"memory", memory_json(report.memory)},
                            {"pager", pager_json(report.pager)},
                            {"tiers", tiers_json(report)},
                            {"bridge", bridge_json(report)},
                            {"tables", tables_json(report)},
                            {"accelerator", accelerator_json(report.accelerator)},
                            {"devices", devices_json(report)},
                            {"guest", guest_json(report.guest)},
                            {"elapsed_s", rounded_to_milli(report.elapsed_s)},
                            {"cpu_user_s", rounded_to_milli(report.cpu_user_s)},
                            {"cpu_system_s", rounded_to_milli(report.cpu_system_s)}};
    return indented_json(root);
}

Result<> write_report(const std::string& path, const RunReport& report) {
    const std::string target = behind_links(path);
    std::string temporary = target + ".XXXXXX";
    const UniqueFd file{::mkostemp(temporary.data(), O_CLOEXEC)};
    if (!file) return fail_errno("write the report", path, "name another path");
    Result<> result = write_all(file.get(), to_json(report), path);
    if (result) result = make_readable(file.get(), path);
    if (result && ::rename(temporary.c_str(), target.c_str()) != 0) {
        result = fail_errno("write the report", path, "name another path");
    }
    if (!result) ::unlink(temporary.c_str());
    return result;
}

}  // namespace penumbra::vmm
