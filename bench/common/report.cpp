#include "bench/common/report.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <utility>

#include "bench/common/environment.hpp"
#include "vmm/control/json_text.hpp"

namespace penumbra::bench {

namespace {

boost::json::value or_null(std::optional<double> number) { return number ? boost::json::value(*number) : nullptr; }

std::string cell(std::optional<double> number) { return number ? fmt::format("{:.3f}", *number) : "-"; }

std::string plain_text(const boost::json::value& value) {
    if (value.is_string()) return std::string{value.as_string()};
    if (value.is_double()) return fmt::format("{:.2f}", value.as_double());
    return boost::json::serialize(value);
}

boost::json::object to_json(const Row& row) {
    boost::json::object o;
    o["name"] = row.name;
    o["value"] = row.value;
    o["unit"] = row.unit;
    o["baseline"] = or_null(row.baseline);
    o["ratio"] = or_null(row.ratio());
    o["target"] = or_null(row.target);
    o["direction"] = row.better == Better::lower ? "lower" : "higher";
    o["ok"] = row.ok();
    return o;
}

boost::json::object missing_row(const std::string& name) {
    boost::json::object o;
    o["name"] = name;
    for (const char* key : {"value", "unit", "baseline", "ratio", "target"}) o[key] = nullptr;
    o["ok"] = false;
    return o;
}

}  // namespace

std::optional<double> Row::ratio() const {
    if (!baseline || *baseline == 0) return std::nullopt;
    return value / *baseline;
}

bool Row::ok() const {
    if (!target) return true;
    const std::optional<double> measured = ratio();
    if (!measured) return false;
    return better == Better::lower ? *measured <= *target : *measured >= *target;
}

Report::Report(std::string benchmark, std::vector<std::string> required)
    : benchmark_(std::move(benchmark)), required_(std::move(required)), environment_(environment()) {}

std::vector<std::string> Report::missing() const {
    std::vector<std::string> names;
    for (const std::string& name : required_) {
        if (std::ranges::find(rows_, name, &Row::name) == rows_.end()) names.push_back(name);
    }
    return names;
}

int Report::finish(Output output, const Result<>& outcome) {
    if (!outcome) note("ended early: " + outcome.error().message());
    output == Output::json ? print_json() : print_table();
    return outcome && missing().empty() && std::ranges::all_of(rows_, &Row::ok) ? 0 : 1;
}

void Report::print_json() const {
    boost::json::object environment = environment_;
    boost::json::array sides;
    for (const Side& side : sides_) {
        sides.push_back(boost::json::object{{"name", side.name},
                                            {"settings", side.settings},
                                            {"cpu_user_s", side.cpu.user},
                                            {"cpu_system_s", side.cpu.system}});
    }
    environment["sides"] = std::move(sides);
    environment["notes"] = boost::json::array(notes_.begin(), notes_.end());
    boost::json::array results;
    for (const Row& row : rows_) results.push_back(to_json(row));
    for (const std::string& name : missing()) results.push_back(missing_row(name));
    const boost::json::object all{
        {"benchmark", benchmark_}, {"environment", std::move(environment)}, {"results", std::move(results)}};
    fmt::print("{}", vmm::indented_json(all));
}

void Report::print_table() const {
    fmt::print("{}\n\n", benchmark_);
    for (const auto& [key, value] : environment_) {
        fmt::print("  {:<18} {}\n", std::string_view(key), plain_text(value));
    }
    fmt::print("\n  {:<22} {:>9} {:>9}  settings\n", "side", "user s", "system s");
    for (const Side& side : sides_) {
        fmt::print("  {:<22} {:>9.3f} {:>9.3f}  {}\n", side.name, side.cpu.user, side.cpu.system, side.settings);
    }
    fmt::print("\n  {:<36} {:>12} {:>12} {:>8} {:>9}       unit\n", "result", "value", "baseline", "ratio", "target");
    for (const Row& row : rows_) {
        const char* bound = row.better == Better::lower ? "<=" : ">=";
        const std::string target = row.target ? fmt::format("{} {:.2f}", bound, *row.target) : "-";
        const char* verdict = !row.target ? "    " : row.ok() ? "ok  " : "MISS";
        fmt::print("  {:<36} {:>12.3f} {:>12} {:>8} {:>9}  {} {}\n", row.name, row.value, cell(row.baseline),
                   cell(row.ratio()), target, verdict, row.unit);
    }
    for (const std::string& name : missing()) fmt::print("  {:<36} not measured: MISS\n", name);
    for (const std::string& line : notes_) fmt::print("\n  {}", line);
    if (!notes_.empty()) fmt::print("\n");
}

}  // namespace penumbra::bench
