// The command line that all benchmarks share.
#pragma once

#include <fmt/core.h>

#include <cstdio>
#include <functional>
#include <optional>
#include <string_view>

#include "bench/common/report.hpp"

namespace penumbra::bench {

/// Takes [--json] and options of the benchmark's own, which `other` accepts by answering true. nullopt: refused, and
/// said so.
[[nodiscard]] inline std::optional<Output> parse_arguments(
    int count, char** arguments,
    const std::function<bool(std::string_view)>& other = [](std::string_view) { return false; }) {
    Output output = Output::table;
    for (int i = 1; i < count; ++i) {
        const std::string_view word{arguments[i]};
        if (word == "--json") {
            output = Output::json;
        } else if (!other(word)) {
            fmt::print(stderr, "{}: unknown option {}\n", arguments[0], word);
            return std::nullopt;
        }
    }
    return output;
}

}  // namespace penumbra::bench
