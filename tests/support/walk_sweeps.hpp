// The cases of the guest walk's conformance sweeps, each a function of its number, and the runner that puts them before
// walk and oracle.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tests/support/walk_oracle.hpp"

namespace penumbra::test {

/// One question, or two in a row where a first access comes before the one that counts.
struct SweepCase {
    WalkCase question;
    bool read_first = false;  ///< a supervisor reads the address before
};

/// The dimensions and the filter of kvm-unit-tests' x86/access.c, with protection keys: present, writable, user,
/// accessed, dirty, XD and a reserved bit in PTE and PDE; page size and low reserved bits in the PDE; a read-only
/// PDPTE; PKRU and key; user, write, fetch, twice; EFER.NXE, CR0.WP, CR4.PKE. Whether bits 36 and 51 are reserved
/// follows from MAXPHYADDR, and with it the number of cases.
class AccessSweep {
public:
    AccessSweep(Level top, std::uint8_t physical_bits);

    [[nodiscard]] std::uint64_t size() const;
    [[nodiscard]] SweepCase at(std::uint64_t number) const;

private:
    /// Which bit beyond the normal ones is set, for one setting of PSE and NXE.
    struct Extra {
        bool large, no_execute;
        std::uint64_t pte, pde;
    };

    Level top_;
    std::uint8_t physical_bits_;
    std::vector<Extra> extras_;
};

/// Every combination of R/W, U/S and XD at every level of a 4-level chain, of CR0.WP, SMEP, SMAP, AC, NXE, PKE, PKS, of
/// both key rights, and of the accesses.
class RightsSweep {
public:
    explicit RightsSweep(Level leaf) : leaf_(leaf) {}

    [[nodiscard]] std::uint64_t size() const;
    [[nodiscard]] SweepCase at(std::uint64_t number) const;

private:
    Level leaf_;
};

/// Anything: every bit of every entry, every size, any mode, any address. A case is a function of seed and number.
class RandomSweep {
public:
    RandomSweep(std::uint64_t seed, std::uint64_t size) : seed_(seed), size_(size) {}

    [[nodiscard]] std::uint64_t size() const { return size_; }
    [[nodiscard]] SweepCase at(std::uint64_t number) const;

private:
    std::uint64_t seed_;
    std::uint64_t size_;
};

struct SweepSummary {
    std::uint64_t cases = 0;
    std::uint64_t faults = 0;  ///< cases in which the oracle denies the access
    std::uint64_t differences = 0;
    std::string first;  ///< the first difference, in words
};

/// Runs `count` cases of a sweep from number `first`, then every `stride`-th; stops looking for words after the first
/// difference, not counting. `enough` ends a run early: that many differences.
struct SweepSpan {
    std::uint64_t first = 0;
    std::uint64_t stride = 1;
    std::uint64_t end = 0;
    std::uint64_t enough = ~std::uint64_t{0};
};
using CaseAt = std::function<SweepCase(std::uint64_t)>;
[[nodiscard]] SweepSummary run_sweep(const CaseAt& at, const SweepSpan& span);
/// All of a sweep, on so many threads.
[[nodiscard]] SweepSummary run_sweep(const CaseAt& at, std::uint64_t size, unsigned threads);

}  // namespace penumbra::test
