#include "vmm/kvm/cpuid.hpp"

#include <algorithm>
#include <array>
#include <bit>

#include "base/assert.hpp"

namespace penumbra::vmm {

namespace {

using Register = std::uint32_t CpuidLeaf::*;
constexpr Register eax = &CpuidLeaf::eax, ebx = &CpuidLeaf::ebx, ecx = &CpuidLeaf::ecx, edx = &CpuidLeaf::edx;

constexpr std::uint32_t bit(unsigned n) { return std::uint32_t{1} << n; }
constexpr std::uint32_t bits(unsigned first, unsigned last) {
    return (~std::uint32_t{0} >> (31 - last + first)) << first;
}

/// Bits that no guest gets. Leaves: SDM volume 2, CPUID; APM volume 3, appendix E; kernel,
/// Documentation/virt/kvm/x86/cpuid.rst.
struct Mask {
    std::uint32_t function, index;
    Register where;
    std::uint32_t clear;
    const char* why;
};
constexpr const char* nested = "no guest runs guests of its own: their memory would bypass the tables";
constexpr const char* counters = "the counters' interrupts and state are not reset or described";
constexpr const char* transactions = "processors disagree about them, and errata turn them off";
constexpr const char* enclaves = "enclave memory cannot leave the host's RAM";
constexpr const char* bounds = "removed from Linux and from new processors";
constexpr const char* tiles = "the host grants this state to those who ask, and nobody asks";
constexpr const char* half_paged = "a reset could not tell a vCPU that waits for a page; the host's half works without";
constexpr const char* migration = "the guest would wait for a migration that this VMM does not do";
constexpr const char* encrypted = "there is no encrypted memory";
constexpr std::array masks{
    Mask{0x1, 0, ecx, bit(5), nested},                       // VMX
    Mask{0x1, 0, ecx, bit(2) | bit(4) | bit(15), counters},  // debug store, its CPL, PDCM
    Mask{0x1, 0, edx, bit(21), counters},                    // debug store
    Mask{0x7, 0, ebx, bit(2), enclaves},                     // SGX
    Mask{0x7, 0, ebx, bit(4) | bit(11), transactions},       // HLE, RTM
    Mask{0x7, 0, ebx, bit(14), bounds},                      // MPX
    Mask{0x7, 0, ebx, bit(25), counters},                    // processor trace
    Mask{0x7, 0, ecx, bit(30), enclaves},                    // SGX launch configuration
    Mask{0x7, 0, edx, bit(13), transactions},                // RTM always aborts
    Mask{0x7, 0, edx, bit(19), counters},                    // last branch records
    Mask{0x7, 0, edx, bit(22) | bit(24) | bit(25), tiles},   // AMX
    Mask{0x7, 1, eax, bit(21), tiles},                       // AMX, half precision
    Mask{0x7, 1, edx, bit(8), tiles},                        // AMX, complex
    Mask{0xD, 0, eax, bits(3, 4), bounds},
    Mask{0xD, 0, eax, bits(17, 18), tiles},
    Mask{0x4000'0001, 0, eax, bit(4) | bit(10) | bit(14), half_paged},  // asynchronous page faults, three parts
    Mask{0x4000'0001, 0, eax, bit(16), encrypted},                      // map-range hypercall
    Mask{0x4000'0001, 0, eax, bit(17), migration},                      // migration control
    Mask{0x8000'0001, 0, ecx, bit(2) | bit(12), nested},                // SVM, SKINIT
    Mask{0x8000'0001, 0, ecx, bit(10) | bit(15) | bit(23) | bit(24) | bit(28), counters},  // IBS, LWP, counters
};

/// Leaves that go with those bits: they answer zero.
struct Absent {
    std::uint32_t function;
    const char* why;
};
constexpr std::array absent{
    Absent{0xA, counters},          Absent{0x12, enclaves},        Absent{0x14, counters},
    Absent{0x1C, counters},         Absent{0x1D, tiles},           Absent{0x1E, tiles},
    Absent{0x8000'000A, nested},    Absent{0x8000'001B, counters}, Absent{0x8000'001C, counters},
    Absent{0x8000'001F, encrypted}, Absent{0x8000'0022, counters},
};
constexpr std::array<std::uint32_t, 4> absent_states{3, 4, 17, 18};  // subleaves of 0xD: bounds, tiles

CpuidLeaf* find(CpuidLeaves& leaves, std::uint32_t function, std::uint32_t index = 0) {
    const auto found = std::ranges::find_if(leaves, [&](const CpuidLeaf& leaf) {
        return leaf.function == function && (!leaf.by_index || leaf.index == index);
    });
    return found == leaves.end() ? nullptr : &*found;
}

void set_field(std::uint32_t& target, unsigned first, unsigned last, std::uint32_t value) {
    target = (target & ~bits(first, last)) | (value << first & bits(first, last));
}

void apply_masks(CpuidLeaves& leaves) {
    for (const Mask& mask : masks) {
        if (CpuidLeaf* leaf = find(leaves, mask.function, mask.index)) leaf->*mask.where &= ~mask.clear;
    }
    std::erase_if(leaves, [](const CpuidLeaf& leaf) {
        const bool gone = std::ranges::any_of(absent, [&](const Absent& a) { return a.function == leaf.function; });
        return gone || (leaf.function == 0xD && std::ranges::find(absent_states, leaf.index) != absent_states.end());
    });
}

/// Bits of an APIC id that number the cores of a socket of `cpus`.
std::uint32_t id_bits(std::uint32_t cpus) { return static_cast<std::uint32_t>(std::bit_width(cpus - 1)); }

/// Leaves 4 and 0x8000001D: what is shared by how many. Caches up to the second level are a core's own.
void share_caches(CpuidLeaves& leaves, std::uint32_t cpus) {
    const std::uint32_t most = (std::uint32_t{1} << id_bits(cpus)) - 1;
    for (CpuidLeaf& leaf : leaves) {
        if (leaf.function != 0x4 && leaf.function != 0x8000'001D) continue;
        const std::uint32_t type = leaf.eax & 0x1F, level = leaf.eax >> 5 & 7;
        if (type == 0) continue;
        set_field(leaf.eax, 14, 25, level < 3 ? 0 : most);
        if (leaf.function == 0x4) set_field(leaf.eax, 26, 31, std::min(most, std::uint32_t{63}));
    }
}

/// Leaves 0xB and 0x1F: threads of a core, cores of the socket.
void number_levels(CpuidLeaves& leaves, CpuidTopology topology) {
    const CpuidLeaf* first = find(leaves, 0);
    const std::uint32_t highest = first != nullptr ? first->eax : 0;
    std::erase_if(leaves, [](const CpuidLeaf& leaf) { return leaf.function == 0xB || leaf.function == 0x1F; });
    constexpr std::uint32_t thread_level = 1, core_level = 2;
    for (const std::uint32_t function : {0xBU, 0x1FU}) {
        if (highest < function) continue;
        leaves.push_back({function, 0, true, 0, 1, thread_level << 8 | 0, topology.cpu});
        leaves.push_back({function, 1, true, id_bits(topology.cpus), topology.cpus, core_level << 8 | 1, topology.cpu});
        leaves.push_back({function, 2, true, 0, 0, 2, topology.cpu});
    }
}

void number_amd(CpuidLeaves& leaves, CpuidTopology topology) {
    if (CpuidLeaf* leaf = find(leaves, 0x8000'0008)) {
        set_field(leaf->ecx, 0, 7, topology.cpus - 1);
        set_field(leaf->ecx, 12, 15, id_bits(topology.cpus));
    }
    if (CpuidLeaf* leaf = find(leaves, 0x8000'001E)) {
        leaf->eax = topology.cpu;
        leaf->ebx = topology.cpu;  // core number; one thread each
        leaf->ecx = 0;             // one node
    }
    // Leaf 1 counts cores, not threads: only where AMD's leaves exist does this bit mean so.
    if (CpuidLeaf* leaf = find(leaves, 0x8000'0001); leaf != nullptr && find(leaves, 0x8000'001E) != nullptr) {
        set_field(leaf->ecx, 1, 1, topology.cpus > 1 ? 1 : 0);
    }
}

void number_first_leaf(CpuidLeaves& leaves, CpuidTopology topology, DeadlineTimer timer) {
    CpuidLeaf* leaf = find(leaves, 1);
    if (leaf == nullptr) return;
    set_field(leaf->ebx, 24, 31, topology.cpu);
    set_field(leaf->ebx, 16, 23, topology.cpus);
    set_field(leaf->edx, 28, 28, topology.cpus > 1 ? 1 : 0);  // EBX says how many there are
    set_field(leaf->ecx, 24, 24, timer == DeadlineTimer::present ? 1 : 0);
    set_field(leaf->ecx, 31, 31, 1);  // a hypervisor is there: leaves from 0x40000000 on
}

}  // namespace

CpuidLeaves bare_cpuid(CpuidLeaves host, std::uint32_t cpu) {
    for (CpuidLeaf& leaf : host) {
        if (leaf.function == 1) set_field(leaf.ebx, 24, 31, cpu);
        if (leaf.function == 0xB || leaf.function == 0x1F) leaf.edx = cpu;
    }
    return host;
}

CpuidLeaves platform_cpuid(CpuidLeaves host, CpuidTopology topology, DeadlineTimer timer) {
    PENUMBRA_ASSERT(topology.cpus >= 1 && topology.cpus <= 255 && topology.cpu < topology.cpus, "APIC ids of 8 bits");
    apply_masks(host);
    number_first_leaf(host, topology, timer);
    share_caches(host, topology.cpus);
    number_levels(host, topology);
    number_amd(host, topology);
    return host;
}

}  // namespace penumbra::vmm
