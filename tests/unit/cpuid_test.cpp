#include "vmm/kvm/cpuid.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace penumbra::vmm {
namespace {

constexpr std::uint32_t all = ~std::uint32_t{0};

const CpuidLeaf* find(const CpuidLeaves& leaves, std::uint32_t function, std::uint32_t index = 0) {
    const auto found = std::ranges::find_if(
        leaves, [&](const CpuidLeaf& l) { return l.function == function && (!l.by_index || l.index == index); });
    return found == leaves.end() ? nullptr : &*found;
}

/// A host that claims everything.
CpuidLeaves generous_host() {
    return {{0x0, 0, false, 0x1F, 1, 2, 3},
            {0x1, 0, false, 0x806F8, all, all, all},
            {0x4, 0, true, 0x1C004121, 1, 2, 3},
            {0x4, 3, true, 0xFC01C163, 1, 2, 3},
            {0x7, 0, true, 1, all, all, all},
            {0x7, 1, true, all, all, all, all},
            {0xA, 0, false, 0x08300805, 0, 15, 0x8604},
            {0xB, 0, true, 1, 2, 0x100, 77},
            {0xD, 0, true, all, 1, 2, 0},
            {0xD, 2, true, 256, 576, 0, 0},
            {0xD, 3, true, 64, 960, 0, 0},
            {0xD, 18, true, 8192, 2816, 6, 0},
            {0x1D, 0, true, 1, 0, 0, 0},
            {0x4000'0000, 0, false, 0x4000'0001, 1, 2, 3},
            {0x4000'0001, 0, false, 0x0101'FEFB, 0, 0, 0},
            {0x8000'0001, 0, false, 0, 0, all, all},
            {0x8000'0008, 0, false, 0x3030, 0, 0x4007, 0},
            {0x8000'000A, 0, false, 1, 8, 0, all},
            {0x8000'001D, 3, true, 0x0001'C163, 1, 2, 3},
            {0x8000'001E, 0, false, 9, 0x104, 0x1, 0}};
}

TEST(Cpuid, WhatTheVmmCannotGiveIsMasked) {
    const CpuidLeaves leaves = platform_cpuid(generous_host(), {0, 1}, DeadlineTimer::absent);
    const auto clear = [&](std::uint32_t function, std::uint32_t CpuidLeaf::* where, unsigned bit) {
        const CpuidLeaf* leaf = find(leaves, function);
        return leaf == nullptr || (leaf->*where >> bit & 1) == 0;
    };
    EXPECT_TRUE(clear(0x1, &CpuidLeaf::ecx, 5)) << "VMX";
    EXPECT_TRUE(clear(0x1, &CpuidLeaf::ecx, 15)) << "PDCM";
    EXPECT_TRUE(clear(0x1, &CpuidLeaf::ecx, 24)) << "a timer that KVM lacks";
    for (const unsigned bit : {2U, 4U, 11U, 14U, 25U}) EXPECT_TRUE(clear(0x7, &CpuidLeaf::ebx, bit)) << bit;
    for (const unsigned bit : {22U, 24U, 25U}) EXPECT_TRUE(clear(0x7, &CpuidLeaf::edx, bit)) << bit;
    EXPECT_TRUE(clear(0x8000'0001, &CpuidLeaf::ecx, 2)) << "SVM";
    for (const unsigned bit : {4U, 10U, 14U, 16U, 17U}) EXPECT_TRUE(clear(0x4000'0001, &CpuidLeaf::eax, bit)) << bit;
    for (const std::uint32_t function : {0xAU, 0x1DU, 0x8000'000AU}) EXPECT_EQ(find(leaves, function), nullptr);
    EXPECT_EQ(find(leaves, 0xD)->eax & 0x0006'0018, 0U);
    EXPECT_EQ(find(leaves, 0xD, 3), nullptr);
    EXPECT_EQ(find(leaves, 0xD, 18), nullptr);
}

TEST(Cpuid, WhatKvmCanGiveStays) {
    const CpuidLeaves leaves = platform_cpuid(generous_host(), {0, 1}, DeadlineTimer::present);
    EXPECT_EQ(find(leaves, 0x4000'0001)->eax & (1U << 0 | 1U << 3 | 1U << 6 | 1U << 24),
              1U << 0 | 1U << 3 | 1U << 6 | 1U << 24)
        << "clock, end of interrupt";
    EXPECT_EQ(find(leaves, 0x1)->ecx >> 24 & 1, 1U) << "deadline timer";
    EXPECT_EQ(find(leaves, 0x1)->ecx >> 21 & 1, 1U) << "x2APIC";
    EXPECT_EQ(find(leaves, 0x1)->ecx >> 31, 1U) << "hypervisor";
    EXPECT_NE(find(leaves, 0xD, 2), nullptr);
    EXPECT_EQ(find(leaves, 0x7)->ebx >> 16 & 1, 1U) << "AVX-512";
}

TEST(Cpuid, EveryVcpuKnowsItsNumberAndHowManyThereAre) {
    for (const std::uint32_t cpus : {1U, 2U, 3U, 8U, 64U}) {
        for (const std::uint32_t cpu : {0U, cpus - 1}) {
            const CpuidLeaves leaves = platform_cpuid(generous_host(), {cpu, cpus}, DeadlineTimer::present);
            const CpuidLeaf& first = *find(leaves, 0x1);
            EXPECT_EQ(first.ebx >> 24, cpu);
            EXPECT_EQ(first.ebx >> 16 & 0xFF, cpus);
            EXPECT_EQ(first.edx >> 28 & 1, cpus > 1 ? 1U : 0U);
            for (const std::uint32_t function : {0xBU, 0x1FU}) {
                const CpuidLeaf& threads = *find(leaves, function, 0);
                const CpuidLeaf& cores = *find(leaves, function, 1);
                EXPECT_EQ(threads.edx, cpu);
                EXPECT_EQ(threads.ebx, 1U);
                EXPECT_EQ(threads.ecx >> 8, 1U);
                EXPECT_EQ(cores.ebx, cpus);
                EXPECT_EQ(cores.ecx >> 8, 2U);
                EXPECT_GE(1U << cores.eax, cpus);
                EXPECT_LT(cpu >> cores.eax, 1U) << "all in one socket";
            }
            EXPECT_EQ((find(leaves, 0x8000'0008)->ecx & 0xFF) + 1, cpus);
            EXPECT_EQ(find(leaves, 0x8000'001E)->eax, cpu);
        }
    }
}

TEST(Cpuid, CachesUpToTheSecondLevelAreACoresOwn) {
    const CpuidLeaves leaves = platform_cpuid(generous_host(), {1, 4}, DeadlineTimer::present);
    EXPECT_EQ(find(leaves, 0x4, 0)->eax >> 14 & 0xFFF, 0U);
    EXPECT_EQ(find(leaves, 0x4, 3)->eax >> 14 & 0xFFF, 3U);
    EXPECT_EQ(find(leaves, 0x4, 3)->eax >> 26, 3U);
    EXPECT_EQ(find(leaves, 0x8000'001D, 3)->eax >> 14 & 0xFFF, 3U);
}

TEST(Cpuid, ABareGuestSeesTheHostButForItsNumber) {
    CpuidLeaves expected = generous_host();
    expected[1].ebx = 0x05FF'FFFF;
    expected[7].edx = 5;
    EXPECT_EQ(bare_cpuid(generous_host(), 5), expected);
}

}  // namespace
}  // namespace penumbra::vmm
