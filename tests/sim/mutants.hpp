// Planted bugs of the protocol that the simulation must find.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/planted.hpp"
#include "tests/sim/run.hpp"

namespace penumbra::test::sim {

struct Mutant {
    Plant plant;
    std::string_view name;
};

[[nodiscard]] std::span<const Mutant> mutants();

/// Seeds from `first` on until the planted bug shows; nullopt: not within `most`.
struct Kill {
    std::uint64_t seeds = 0;
    std::string how;
};
[[nodiscard]] std::optional<Kill> hunt(const Mutant& mutant, std::uint64_t first, std::uint64_t most);

/// Each mutant hunted from `hunts` different seeds; one line each with the median.
[[nodiscard]] std::string mutant_table(unsigned hunts, std::uint64_t most, unsigned& survivors);

}  // namespace penumbra::test::sim
