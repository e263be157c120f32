// Results of one benchmark: rows against their targets, for people or as JSON.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "bench/common/cpu_time.hpp"

namespace penumbra::bench {

enum class Better : std::uint8_t { lower, higher };
enum class Output : std::uint8_t { table, json };

/// `value / baseline` must not exceed `target` (or fall below it, where higher is better). No target: for information.
struct Row {
    std::string name;
    double value = 0;
    std::string unit;
    std::optional<double> baseline;
    std::optional<double> target;
    Better better = Better::lower;

    [[nodiscard]] std::optional<double> ratio() const;
    [[nodiscard]] bool ok() const;
};

/// One of the two that are compared: how it was set up, and the CPU time it took while it was measured.
struct Side {
    std::string name;
    std::string settings;
    CpuTime cpu;
};

class Report {
public:
    /// Rows named in `required` that are never added count as failed. The environment is taken now.
    Report(std::string benchmark, std::vector<std::string> required);

    void add(Row row) { rows_.push_back(std::move(row)); }
    void add(Side side) { sides_.push_back(std::move(side)); }
    void note(std::string line) { notes_.push_back(std::move(line)); }

    /// Prints everything to standard output; the exit status: 0 when every row is ok.
    [[nodiscard]] int finish(Output output, const Result<>& outcome);

private:
    [[nodiscard]] std::vector<std::string> missing() const;
    void print_json() const;
    void print_table() const;

    std::string benchmark_;
    std::vector<std::string> required_;
    boost::json::object environment_;
    std::vector<Row> rows_;
    std::vector<Side> sides_;
    std::vector<std::string> notes_;
};

}  // namespace penumbra::bench
