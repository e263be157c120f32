// The race of faults and invalidations over one page, on production's bridge, tables and fault handler, small enough
// for all interleavings.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "tests/sim/explore.hpp"
#include "tests/sim/run.hpp"

namespace penumbra::test::sim {

enum class Part : std::uint8_t {
    fault,         ///< a vCPU touches the page
    device_fault,  ///< a device does
    swap_out,      ///< the page leaves, and its content is kept
    swap_out_now,  ///< ... unless somebody would have to be waited for
    discard,       ///< the page loses its content
};

/// What a switch may come before. `writes`: changes of entries, reads and changes of the sequence, and the window's
/// changes: 5 steps in each part that meets nobody. `reads` adds every look at an entry and at the page's content.
enum class Grain : std::uint8_t { writes, reads };

/// Whether states are counted where the reduction does not need them.
enum class Count : std::uint8_t { runs, states };

struct Exploration {
    std::uint64_t runs = 0;         ///< to their end
    std::uint64_t repetitions = 0;  ///< given up as such
    std::uint64_t choices = 0;
    std::uint64_t deepest = 0;
    std::uint64_t states = 0;  ///< different ones that were met where there was a choice
    bool complete = false;
};

struct Scope {
    std::vector<Part> parts;
    Grain grain = Grain::writes;
    Reduction reduction = Reduction::states;
    unsigned steps = Explorer::all_steps;  ///< of each part; from then on it goes on for as long as it can
    std::uint64_t most_runs = 1'000'000;
    Count count = Count::runs;
};

/// In a child. Its report's `seen` counts runs as seeds.
[[nodiscard]] Report explore_race(const Scope& scope, Exploration& result);

}  // namespace penumbra::test::sim
