// The people's half of report.hpp.
#include <fmt/format.h>

#include "base/address.hpp"
#include "vmm/control/report.hpp"
#include "vmm/control/size_text.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::size_t label_width = 18;

class Lines {
public:
    explicit Lines(Colour colour) : colour_(colour) {}

    void row(std::string_view label, std::string_view value) {
        text_ += fmt::format("  {:<{}} {}\n", label, label_width, value);
    }
    /// A row whose count ought to be zero.
    void zero_row(std::string_view label, std::uint64_t count) {
        row(label, painted(human_count(count), count == 0 ? Paint::good : Paint::bad, colour_));
    }
    void title(std::string_view text) { text_ += painted(text, Paint::title, colour_) + "\n"; }
    [[nodiscard]] std::string take() { return std::move(text_); }

private:
    Colour colour_;
    std::string text_;
};

std::string pages_text(std::uint64_t pages) {
    return fmt::format("{} pages ({})", human_count(pages), human_bytes(pages << page_shift));
}

std::string latency_text(const LatencySummary& latency) {
    if (latency.samples == 0) return "not measured";
    return fmt::format("p50 {:.1f}  p99 {:.1f}  p99.9 {:.1f}  max {:.1f} us  ({} samples)", latency.p50, latency.p99,
                       latency.p999, latency.max, human_count(latency.samples));
}

void add_memory(Lines& lines, const RunReport& report) {
    const MemoryReport& memory = report.memory;
    lines.title("memory");
    lines.row("guest", human_bytes(memory.guest_bytes));
    lines.row("budget",
              fmt::format("{}, peak {}", human_bytes(memory.budget_bytes), human_bytes(memory.peak_charged_bytes)));
    lines.zero_row("pinned bytes", memory.pinned_bytes);
    for (const TierReport& tier : report.tiers) {
        lines.row(tier.name, fmt::format("{} in {}", pages_text(tier.pages), human_bytes(tier.bytes)));
    }
}

void add_pager(Lines& lines, const PagerReport& pager) {
    lines.title("pager");
    lines.row("faults", human_count(pager.faults));
    lines.row("swapped out", pages_text(pager.swapped_out_pages));
    lines.row("swapped in", pages_text(pager.swapped_in_pages));
    lines.row("rescued", pages_text(pager.rescued_pages));
    lines.row("latency, handler", latency_text(pager.handler_latency));
    lines.row("latency, guest", latency_text(pager.guest_latency));
}

void add_tables(Lines& lines, const RunReport& report) {
    lines.title("tables");
    std::uint64_t stale = 0;
    for (const auto& [name, table] : report.tables) {
        lines.row(name, fmt::format("{} mapped, {} zapped, {} faults, {} retries, {} flushes",
                                    human_count(table.mapped), human_count(table.zapped), human_count(table.faults),
                                    human_count(table.retries), human_count(table.tlb_flushes)));
        stale += table.stale_faults;
    }
    lines.zero_row("stale faults", stale);
    lines.row("batches", human_count(report.batches));
}

void add_processes(Lines& lines, const ProcessesReport& processes) {
    lines.row("of processes", fmt::format("{} commands, {} faults, {} page requests to the guest, {} waits",
                                          human_count(processes.commands), human_count(processes.faults),
                                          human_count(processes.guest_requests), human_count(processes.waits)));
    lines.row("watched tables", fmt::format("{} written, {} while the device was at work; {} processes left unwatched",
                                            human_count(processes.broken_watches), human_count(processes.broken_in_use),
                                            human_count(processes.cooperative)));
}

void add_accelerator(Lines& lines, const AcceleratorReport& accelerator) {
    lines.title("accelerator");
    lines.row("commands", fmt::format("{} over {}", human_count(accelerator.commands), human_bytes(accelerator.bytes)));
    lines.row("page requests", fmt::format("{}, {} for pages swapped out", human_count(accelerator.page_requests),
                                           human_count(accelerator.page_requests_out)));
    if (accelerator.processes.commands != 0) add_processes(lines, accelerator.processes);
    lines.zero_row("mismatches", accelerator.mismatches);
}

}  // namespace

std::string closing_table(const RunReport& report, Colour colour) {
    Lines lines{colour};
    add_memory(lines, report);
    add_pager(lines, report.pager);
    add_tables(lines, report);
    if (report.accelerator.commands != 0) add_accelerator(lines, report.accelerator);
    lines.title("guest");
    lines.row("verified",
              fmt::format("{} in {} passes, each page at least {} times", pages_text(report.guest.pages_verified),
                          human_count(report.guest.passes), human_count(report.guest.min_verifications)));
    if (const GuestReport::Svm& svm = report.guest.svm; svm.changes != 0) {
        lines.row("tables", fmt::format("{} changes, {} in use; {} commands over {}; empty {} times",
                                        human_count(svm.changes), human_count(svm.in_use), human_count(svm.commands),
                                        human_bytes(svm.bytes), human_count(svm.empty)));
    }
    lines.zero_row("mismatches", report.guest.mismatches);
    lines.title("run");
    lines.row("time", fmt::format("{:.1f} s ({:.1f} s user, {:.1f} s system)", report.elapsed_s, report.cpu_user_s,
                                  report.cpu_system_s));
    lines.row("outcome", painted(one_line(report.outcome), went_well(report) ? Paint::good : Paint::bad, colour));
    return lines.take();
}

}  // namespace penumbra::vmm
