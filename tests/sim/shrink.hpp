// Makes a failing plan smaller for as long as it fails in the same way: fewer actors, fewer actions, fewer switches.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tests/sim/run.hpp"

namespace penumbra::test::sim {

struct Shrunk {
    Plan plan;
    std::vector<Switch> switches;
    Failure failure;
};

/// `seed`'s failure, made small; nullopt: it does not fail.
[[nodiscard]] std::optional<Shrunk> shrink(std::uint64_t seed);
[[nodiscard]] std::string text_of(const Shrunk& shrunk);

}  // namespace penumbra::test::sim
