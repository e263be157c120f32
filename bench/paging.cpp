// Penumbra's pager against the kernel's own swap on zram, in the same amount of memory. Options of its own:
//   --rows=host.random,guest.zipf   only these; also host.random_write and others without a target
//   --rounds=N                      timed rounds of each side, 5 or more
#include <algorithm>
#include <cstdlib>
#include <sstream>
#include <string_view>
#include <vector>

#include "bench/common/arguments.hpp"
#include "bench/common/paging_contest.hpp"

namespace penumbra::bench {

namespace {

constexpr unsigned fewest_rounds = 5;
constexpr unsigned most_rounds = 1000;

struct Options {
    std::vector<std::string> rows;  ///< empty: those with a target
    unsigned rounds = fewest_rounds;
};

constexpr double cpu_target = 1.5;
constexpr double random_cpu_target = 2.0;

std::vector<PagingRow> rows_of(PagingAccessor accessor) {
    using enum Pattern;
    constexpr auto read = abi::TouchKind::read;
    constexpr auto write = abi::TouchKind::write;
    constexpr std::uint32_t all = paging_pages;
    constexpr std::uint32_t half = paging_pages / 2;
    const bool host = accessor == PagingAccessor::host;
    return {
        {"seq_read", {sequential, read, all}, 3.0, cpu_target},
        {"seq_write", {sequential, write, all}, 3.0, cpu_target},
        {"stride8", {stride8, read, half}, 2.0, cpu_target},
        {"zipf", {zipf, read, half}, host ? 1.5 : 0.9, cpu_target},
        {"random", {random, read, half}, host ? 1.3 : 0.65, random_cpu_target},
        {"stride8_write", {stride8, write, half}, {}, {}},
        {"zipf_write", {zipf, write, half}, {}, {}},
        {"random_write", {random, write, half}, {}, {}},
    };
}

std::string full_name(PagingAccessor accessor, const PagingRow& row) {
    return std::string{name_of(accessor)} + "." + row.name;
}

bool is_wanted(const Options& options, PagingAccessor accessor, const PagingRow& row) {
    if (options.rows.empty()) return row.speed.has_value();
    return std::ranges::find(options.rows, full_name(accessor, row)) != options.rows.end();
}

constexpr std::array accessors{PagingAccessor::host, PagingAccessor::guest};

bool take_rows(Options& options, const std::string& list) {
    std::istringstream names{list};
    for (std::string name; std::getline(names, name, ',');) {
        const bool known = std::ranges::any_of(accessors, [&](PagingAccessor accessor) {
            return std::ranges::any_of(rows_of(accessor),
                                       [&](const PagingRow& row) { return full_name(accessor, row) == name; });
        });
        if (!known) {
            fmt::print(stderr, "no such row: {}\n", name);
            return false;
        }
        options.rows.push_back(name);
    }
    return !options.rows.empty();
}

std::vector<std::string> required(const Options& options) {
    std::vector<std::string> names;
    for (const PagingAccessor accessor : accessors) {
        for (const PagingRow& row : rows_of(accessor)) {
            if (!is_wanted(options, accessor, row)) continue;
            names.push_back(full_name(accessor, row));
            names.push_back(names.back() + ".cpu");
        }
    }
    return names;
}

Result<> run(const Options& options, Report& report) {
    PENUMBRA_TRY_ASSIGN(const Interrupts interrupts, Interrupts::block());
    PENUMBRA_TRY_ASSIGN(const std::string compressor, choose_compressor(interrupts, report));
    for (const PagingAccessor accessor : accessors) {
        std::vector<PagingRow> rows = rows_of(accessor);
        std::erase_if(rows, [&](const PagingRow& row) { return !is_wanted(options, accessor, row); });
        if (rows.empty()) continue;
        PENUMBRA_TRY_ASSIGN(const auto contest,
                            PagingContest::create({accessor, options.rounds, compressor}, interrupts, report));
        for (const PagingRow& row : rows) PENUMBRA_TRY(contest->run(row));
        PENUMBRA_TRY(contest->finish());
    }
    report.note(
        "512 MiB of this machine's libraries. Both sides: the thread that touches is pinned to the same CPU; each");
    report.note("touch checks what the page holds. Speeds are medians of the rounds, CPU is the sum of all of them.");
    return {};
}

}  // namespace

}  // namespace penumbra::bench

int main(int count, char** arguments) {
    using namespace penumbra::bench;
    Options options;
    PagingSideOptions side;
    const auto output = parse_arguments(count, arguments, [&](std::string_view word) {
        constexpr std::string_view rows_option = "--rows=";
        constexpr std::string_view rounds_option = "--rounds=";
        if (word.starts_with(rows_option)) return take_rows(options, std::string{word.substr(rows_option.size())});
        if (!word.starts_with(rounds_option)) return side.take(word);
        options.rounds = static_cast<unsigned>(std::strtoul(word.data() + rounds_option.size(), nullptr, 10));
        return options.rounds >= fewest_rounds && options.rounds <= most_rounds;
    });
    if (!output) return 2;
    if (side.is_side()) return run_paging_side(side);
    Report report("paging", required(options));
    const penumbra::Result<> outcome = run(options, report);
    return report.finish(*output, outcome);
}
