// The cases of the EPT walk's conformance sweeps, each a function of its number.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "tests/support/walk_ept_oracle.hpp"

namespace penumbra::test {

/// Every combination of the permission bits R, W, X, XU at every level of a 4-level chain, of A/D flags, mode-based
/// execute control and execute-only support, of accesses and origins.
class EptRightsSweep {
public:
    explicit EptRightsSweep(Level leaf) : leaf_(leaf) {}

    [[nodiscard]] std::uint64_t size() const;
    [[nodiscard]] EptCase at(std::uint64_t number) const;

private:
    Level leaf_;
};

/// Each bit from 3 to 63 alone, set in an otherwise good entry of each level, as table and as page, under every mode:
/// reserved, ignored, memory types.
class EptBitSweep {
public:
    [[nodiscard]] std::uint64_t size() const;
    [[nodiscard]] EptCase at(std::uint64_t number) const;
};

/// Anything, mostly good. A case is a function of seed and number.
class EptRandomSweep {
public:
    EptRandomSweep(std::uint64_t seed, std::uint64_t size) : seed_(seed), size_(size) {}

    [[nodiscard]] std::uint64_t size() const { return size_; }
    [[nodiscard]] EptCase at(std::uint64_t number) const;

private:
    std::uint64_t seed_;
    std::uint64_t size_;
};

struct EptSummary {
    std::uint64_t cases = 0;
    std::uint64_t allowed = 0, violations = 0, misconfigurations = 0;  ///< as the oracle has it
    std::uint64_t differences = 0;
    std::string first;
};
/// Every `stride`-th case; ends early after `enough` differences.
[[nodiscard]] EptSummary run_ept_sweep(const std::function<EptCase(std::uint64_t)>& at, std::uint64_t size,
                                       std::uint64_t stride = 1, std::uint64_t enough = ~std::uint64_t{0});

}  // namespace penumbra::test
