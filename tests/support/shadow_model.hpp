// A random guest, device and host around one shadow table: a few pages that are tables at any level, data, or both,
// with entries of every kind; four contexts of different modes and trackings; everything that may happen in the middle
// of a fault happens there at times. After each step every cached translation is compared with the truth.
#pragma once

#include <random>
#include <string>

#include "tests/support/shadow_world.hpp"

namespace penumbra::test {

struct ShadowModelOptions {
    std::uint64_t seed = 1;
    unsigned steps = 300;
    mmu::OwnWrites own = mmu::OwnWrites::break_watch;
    std::size_t quota = 64;
};

/// What runs have met, so that a test can tell that they met anything.
struct ShadowModelReach {
    std::uint64_t reached = 0, refused = 0, own_table = 0, waited = 0, interrupted = 0;
    std::uint64_t broken = 0, floods = 0, evicted = 0, synced = 0, full_flushes = 0;
};

/// One seed is one run. Nothing, or what went wrong, with seed and step.
[[nodiscard]] std::string run_shadow_model(const ShadowModelOptions& options, ShadowModelReach* reach = nullptr);

}  // namespace penumbra::test
