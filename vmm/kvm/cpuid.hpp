// What a guest's CPUID instruction answers: the host's processor, except for who and how many the vCPUs are, and for
// what this VMM cannot give.
#pragma once

#include <cstdint>
#include <vector>

namespace penumbra::vmm {

/// One answer of CPUID. `by_index`: the leaf has subleaves and ECX chooses among them.
struct CpuidLeaf {
    std::uint32_t function = 0;
    std::uint32_t index = 0;
    bool by_index = false;
    std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;

    friend bool operator==(const CpuidLeaf&, const CpuidLeaf&) = default;
};
using CpuidLeaves = std::vector<CpuidLeaf>;

/// Whether KVM's local APIC has the timer mode that fires at a TSC value. KVM does not say so in its CPUID leaves.
enum class DeadlineTimer : std::uint8_t { absent, present };

struct CpuidTopology {
    std::uint32_t cpu = 0;   ///< number of the vCPU, which is its APIC id
    std::uint32_t cpus = 1;  ///< one socket of so many cores, one thread each; at most 255
};

/// For a guest without local APICs: the host's leaves with the vCPU's number.
[[nodiscard]] CpuidLeaves bare_cpuid(CpuidLeaves host, std::uint32_t cpu);

/// For a whole PC. `host` are the leaves that KVM supports; what is masked, and why, is the table in cpuid.cpp.
[[nodiscard]] CpuidLeaves platform_cpuid(CpuidLeaves host, CpuidTopology topology, DeadlineTimer timer);

}  // namespace penumbra::vmm
