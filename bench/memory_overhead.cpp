// What a machine costs beside its guest's memory. Two machines of different size and one budget, each in a process of
// its own, are filled with real pages; what grows with the size, other than page tables, is metadata.
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <thread>

#include "base/page_size.hpp"
#include "bench/common/arguments.hpp"
#include "bench/common/child.hpp"
#include "bench/common/cpu_time.hpp"
#include "bench/common/payload_pages.hpp"
#include "bench/common/scratch.hpp"
#include "bench/common/smaps.hpp"
#include "vmm/machine.hpp"

namespace penumbra::bench {

namespace {

constexpr std::uint64_t budget_bytes = 256ULL << 20;
constexpr std::uint64_t small_bytes = 1ULL << 30;
constexpr std::uint64_t large_bytes = 2ULL << 30;

/// What a child tells: bytes, and counts of pages.
struct Figures {
    std::uint64_t started = 0;  ///< resident beside guest memory, right after start
    std::uint64_t filled = 0;   ///< the same with every page of the guest written
    std::uint64_t table_pages = 0;
    std::uint64_t guest_pages = 0;
    std::uint64_t stored_pages = 0;
    CpuTime cpu;
};

std::ostream& operator<<(std::ostream& out, const Figures& f) {
    return out << f.started << ' ' << f.filled << ' ' << f.table_pages << ' ' << f.guest_pages << ' ' << f.stored_pages
               << ' ' << f.cpu.user << ' ' << f.cpu.system << '\n';
}
std::istream& operator>>(std::istream& in, Figures& f) {
    return in >> f.started >> f.filled >> f.table_pages >> f.guest_pages >> f.stored_pages >> f.cpu.user >>
           f.cpu.system;
}

/// Resident memory without the window, limbo's slots and the blob pool.
Result<std::uint64_t> beside_guest_memory(vmm::MemorySystem& memory, bool explain) {
    const vmm::PagerState& state = memory.state();
    PENUMBRA_TRY_ASSIGN(const Resident resident, resident_memory());
    PENUMBRA_TRY_ASSIGN(const std::uint64_t window, resident_bytes(memory.window_pages()));
    PENUMBRA_TRY_ASSIGN(const std::uint64_t staging, resident_bytes(state.limbo->staging()));
    const std::uint64_t pool = state.compressed->charged_bytes();
    if (explain) {
        fmt::print(stderr, "  rss {} KiB, window {}, staging {}, pool {}, tables {}\n", resident.total >> 10,
                   window >> 10, staging >> 10, pool >> 10, memory.ept().table_pages() * 4);
        for (const auto& [name, bytes] : resident.largest) fmt::print(stderr, "  {:>9} KiB {}\n", bytes >> 10, name);
    }
    return resident.total - window - staging - pool;
}

/// Waits until the process's threads have come to rest.
void wait_until_quiet() {
    using namespace std::chrono_literals;
    constexpr int most_turns = 300;
    constexpr double busy_seconds = 0.001;
    for (int turn = 0; turn < most_turns; ++turn) {
        const CpuTime before = CpuTime::of_process();
        std::this_thread::sleep_for(100ms);
        if ((CpuTime::of_process() - before).total() < busy_seconds) return;
    }
}

Result<> fill(vmm::Machine& machine) {
    vmm::MemorySystem& memory = machine.memory();
    // The guest is parked: what the image and the boot state hold may be overwritten.
    std::uint64_t page = 0;
    const std::uint64_t pages = memory.layout().pages();
    Result<> outcome;
    std::array<std::byte, page_bytes> stamped;
    LibraryReader reader;
    PENUMBRA_TRY(reader.read([&](PageView bytes) {
        std::memcpy(stamped.data(), bytes.data(), page_bytes);
        std::memcpy(stamped.data(), &page, sizeof page);
        outcome = memory.write(address_of(memory.layout().gfn_of(page)), stamped);
        return outcome.has_value() && ++page < pages;
    }));
    return outcome;
}

Result<Figures> measure(std::uint64_t memory_bytes, bool explain) {
    using namespace std::chrono_literals;
    const Scratch scratch;
    vmm::RunOptions options;
    options.image = std::string{PENUMBRA_GUEST_IMAGES} + "/touch";
    options.memory_bytes = memory_bytes;
    options.budget_bytes = budget_bytes;
    options.swap = {{vmm::SwapKind::lz4, {}}, {vmm::SwapKind::file, scratch.file("swap")}};
    options.accelerator = true;
    PENUMBRA_TRY_ASSIGN(const std::unique_ptr<vmm::Machine> machine,
                        vmm::Machine::create(options, [](std::string_view) {}));
    PENUMBRA_TRY(machine->start());
    machine->pause();
    const auto deadline = std::chrono::steady_clock::now() + 30s;
    if (!machine->wait_for(vmm::MachineState::paused, deadline)) return fail("pause", "the machine");

    vmm::MemorySystem& memory = machine->memory();
    Figures figures;
    PENUMBRA_TRY_ASSIGN(figures.started, beside_guest_memory(memory, explain));
    const CpuTime before = CpuTime::of_process();
    PENUMBRA_TRY(fill(*machine));
    wait_until_quiet();
    figures.cpu = CpuTime::of_process() - before;
    PENUMBRA_TRY_ASSIGN(figures.filled, beside_guest_memory(memory, explain));
    figures.table_pages = memory.ept().table_pages() + memory.device_table()->table_pages();
    figures.guest_pages = memory.layout().pages();
    for (std::uint64_t page = 0; page < figures.guest_pages; ++page) {
        const vmm::PageState state =
            memory.state().words.load(vmm::PageIndex{static_cast<std::uint32_t>(page)}).state();
        if (state == vmm::PageState::compressed || state == vmm::PageState::stored) ++figures.stored_pages;
    }
    return figures;
}

Result<Figures> measure_in_child(std::uint64_t memory_bytes, bool explain) {
    std::vector<std::string> arguments{"--measure=" + std::to_string(memory_bytes)};
    if (explain) arguments.insert(arguments.begin(), "--explain");
    PENUMBRA_TRY_ASSIGN(const std::string answer, run_self(arguments));
    std::istringstream words{answer};
    Figures figures;
    if (!(words >> figures)) return fail("understand", "a part of the benchmark");
    return figures;
}

/// Pages of the smallest radix tree over so many pages from page 0 on.
std::uint64_t least_table_pages(std::uint64_t pages) {
    std::uint64_t total = 0;
    for (unsigned level = 1; level <= static_cast<unsigned>(Level::top_4); ++level) {
        pages = (pages + entries_per_node - 1) / entries_per_node;
        total += pages;
    }
    return total;
}

Result<> run(Report& report, bool explain) {
    PENUMBRA_TRY_ASSIGN(const Figures small, measure_in_child(small_bytes, explain));
    PENUMBRA_TRY_ASSIGN(const Figures large, measure_in_child(large_bytes, explain));
    const auto bytes = [](std::uint64_t n) { return static_cast<double>(n); };
    const double extra_guest = bytes(large.guest_pages - small.guest_pages);
    const double extra_stored = bytes(large.stored_pages) - bytes(small.stored_pages);
    const double tables = bytes(large.table_pages - small.table_pages) * bytes(page_bytes);
    const double growth = bytes(large.filled) - bytes(small.filled) - tables;
    constexpr double per_guest_page = 8;
    constexpr double per_stored_page = 24;
    report.add(Row{"metadata_per_guest_page", growth / extra_guest, "bytes",
                   per_guest_page + per_stored_page * extra_stored / extra_guest, 1.0, Better::lower});
    constexpr std::uint64_t device_root = 1;
    report.add(Row{"table_pages", bytes(large.table_pages), "pages",
                   bytes(least_table_pages(large.guest_pages) + device_root), 1.02, Better::lower});
    constexpr double mib = 1 << 20;
    constexpr double allowed_mib = 12;
    report.add(Row{"vmm_resident", bytes(small.started) / mib, "MiB", allowed_mib, 1.0, Better::lower});
    report.add(Row{"vmm_resident_filled_1G", bytes(small.filled) / mib, "MiB", {}, {}, Better::lower});
    report.add(Row{"vmm_resident_filled_2G", bytes(large.filled) / mib, "MiB", {}, {}, Better::lower});
    report.add(Row{"extra_stored_pages", extra_stored, "pages", {}, {}, Better::higher});
    const std::string settings = ", budget 256 MiB, lz4 and a swap file, accelerator, every page written";
    report.add(Side{"1 GiB machine", "1 GiB guest" + settings, small.cpu});
    report.add(Side{"2 GiB machine", "2 GiB guest" + settings, large.cpu});
    report.note("The baseline of metadata_per_guest_page is its allowance: 8 bytes, and 24 per stored page.");
    return {};
}

}  // namespace

}  // namespace penumbra::bench

int main(int count, char** arguments) {
    using namespace penumbra::bench;
    bool explain = false;
    std::uint64_t child_bytes = 0;
    const auto output = parse_arguments(count, arguments, [&](std::string_view word) {
        if (word == "--explain") return explain = true;
        constexpr std::string_view measure_option = "--measure=";
        if (!word.starts_with(measure_option)) return false;
        child_bytes = std::strtoull(word.data() + measure_option.size(), nullptr, 10);
        return child_bytes > 0;
    });
    if (!output) return 2;
    if (child_bytes > 0) {
        const auto figures = measure(child_bytes, explain);
        if (!figures) {
            fmt::print(stderr, "{}\n", figures.error().message());
            return 1;
        }
        std::ostringstream words;
        words << *figures;
        fmt::print("{}", words.str());
        return 0;
    }
    Report report("memory_overhead", {"metadata_per_guest_page", "table_pages", "vmm_resident"});
    return report.finish(*output, run(report, explain));
}
