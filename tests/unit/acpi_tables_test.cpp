#include "vmm/boot/acpi/acpi_tables.hpp"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstring>
#include <numeric>

#include "guest-images/common/machine_abi.hpp"
#include "vmm/boot/acpi/static_tables.hpp"
#include "vmm/boot/platform_map.hpp"

namespace penumbra::vmm {
namespace {

constexpr PlatformDescription full{
    .cpus = 64, .virtio_mmio_devices = platform::max_virtio_mmio_devices, .pci = PciHost::present};

template <class T>
T at(std::span<const std::byte> bytes, std::size_t offset) {
    std::array<std::byte, sizeof(T)> field{};
    std::memcpy(field.data(), bytes.subspan(offset, sizeof(T)).data(), sizeof(T));
    return std::bit_cast<T>(field);
}

unsigned sum(std::span<const std::byte> bytes) {
    unsigned all = 0;
    for (const std::byte value : bytes) all += std::to_integer<unsigned>(value);
    return all & 0xFF;
}

std::string text(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The table that an OS finds at a guest-physical address.
std::span<const std::byte> follow(const AcpiTables& all, std::uint64_t address) {
    const std::uint64_t offset = address - all.base.value();
    return std::span(all.bytes).subspan(offset, at<std::uint32_t>(all.bytes, offset + 4));
}

TEST(AcpiTables, AnOsFindsEveryTableFromTheRoot) {
    for (const PlatformDescription& machine : {PlatformDescription{}, full}) {
        const AcpiTables all = build_acpi(machine);
        EXPECT_EQ(all.base.value(), 0xE0000U);
        EXPECT_LE(all.base.value() + all.bytes.size(), 0x100000U);
        const auto root = std::span(all.bytes).subspan(all.rsdp - all.base, 36);
        EXPECT_EQ(text(root.first(8)), "RSD PTR ");
        EXPECT_EQ(sum(root.first(20)), 0U);
        EXPECT_EQ(sum(root), 0U);
        EXPECT_EQ(at<std::uint8_t>(root, 15), 2) << "revision";
        EXPECT_EQ(at<std::uint32_t>(root, 20), 36U);

        const auto xsdt = follow(all, at<std::uint64_t>(root, 24));
        std::string found;
        for (std::size_t i = 36; i < xsdt.size(); i += 8) {
            found += text(follow(all, at<std::uint64_t>(xsdt, i)).first(4)) + " ";
        }
        EXPECT_EQ(found, machine.pci == PciHost::present ? "FACP APIC MCFG " : "FACP APIC ");
        const auto fadt = all.table("FACP");
        EXPECT_EQ(text(follow(all, at<std::uint64_t>(fadt, 140)).first(4)), "DSDT");
        EXPECT_EQ(at<std::uint32_t>(fadt, 40), at<std::uint64_t>(fadt, 140));
        EXPECT_EQ(text(follow(all, at<std::uint32_t>(fadt, 36)).first(4)), "FACS");
        EXPECT_EQ(at<std::uint32_t>(fadt, 36) % 64, 0U);
    }
}

TEST(AcpiTables, EachAddsUpToZeroAndKeepsToItself) {
    const AcpiTables all = build_acpi(full);
    std::size_t end = 0;
    for (const AcpiTables::Table& table : all.tables) {
        EXPECT_GE(table.offset, end) << table.signature;
        end = table.offset + table.size;
        if (table.signature == "RSD PTR ") continue;
        EXPECT_EQ(text(all.table(table.signature).first(4)), table.signature);
        EXPECT_EQ(at<std::uint32_t>(all.table(table.signature), 4), table.size);
        if (table.signature == "FACS") continue;  // has no checksum
        EXPECT_EQ(sum(all.table(table.signature)), 0U) << table.signature;
    }
    EXPECT_EQ(end, all.bytes.size());
    EXPECT_TRUE(all.table("HPET").empty());
}

TEST(AcpiTables, FixedHardwareIsWhereThePlatformHasIt) {
    const AcpiTables all = build_acpi({});
    const auto fadt = all.table("FACP");
    ASSERT_EQ(fadt.size(), 276U);
    EXPECT_EQ(at<std::uint8_t>(fadt, 8), 6);
    EXPECT_EQ(at<std::uint16_t>(fadt, 46), 9) << "SCI";
    EXPECT_EQ(at<std::uint32_t>(fadt, 48), 0U) << "no SMI command: always in ACPI mode";
    EXPECT_EQ(at<std::uint32_t>(fadt, 56), 0x600U);
    EXPECT_EQ(at<std::uint32_t>(fadt, 64), 0x604U);
    EXPECT_EQ(at<std::uint32_t>(fadt, 76), 0x608U);
    EXPECT_EQ(at<std::uint32_t>(fadt, 88), 0x0400'0204U) << "lengths";
    EXPECT_GT(at<std::uint16_t>(fadt, 96), 100) << "no C2";
    EXPECT_GT(at<std::uint16_t>(fadt, 98), 1000) << "no C3";
    EXPECT_EQ(at<std::uint16_t>(fadt, 109), 1 << 2 | 1 << 4 | 1 << 5) << "no VGA, no ASPM, no CMOS clock";
    const auto flags = at<std::uint32_t>(fadt, 112);
    EXPECT_EQ(flags & 1U << 4, 0U) << "the power button is fixed hardware";
    EXPECT_NE(flags & 1U << 8, 0U) << "32-bit timer";
    EXPECT_NE(flags & 1U << 10, 0U) << "reset register";
    EXPECT_EQ(flags & 1U << 20, 0U) << "not hardware-reduced";
    EXPECT_EQ(at<std::uint64_t>(fadt, 116 + 4), 0xCF9U);
    EXPECT_EQ(at<std::uint8_t>(fadt, 128), 6);
    EXPECT_EQ(at<std::uint64_t>(fadt, 148 + 4), 0x600U);
    EXPECT_EQ(at<std::uint64_t>(fadt, 172 + 4), 0x604U);
    EXPECT_EQ(at<std::uint64_t>(fadt, 208 + 4), 0x608U);
    EXPECT_EQ(at<std::uint32_t>(fadt, 208), 0x0300'2001U) << "I/O space, 32 bits, double word access";
}

TEST(AcpiTables, InterruptControllersAreListedForEachVcpu) {
    std::vector<std::uint32_t> ids(abi::max_vcpus);
    std::iota(ids.begin(), ids.end(), 0U);
    const AcpiTables all = build_acpi(full);
    const auto madt = all.table("APIC");
    EXPECT_EQ(at<std::uint32_t>(madt, 36), 0xFEE0'0000U);
    ASSERT_EQ(madt.size(), 44 + 64 * 8 + 12 + 10U);
    for (unsigned i = 0; i < 64; ++i) {
        EXPECT_EQ(at<std::uint64_t>(madt, 44 + i * 8), 0x1'0000'0800ULL | i << 16 | i << 24) << i;
    }
    const auto ioapic = madt.subspan(44 + 64 * 8);
    EXPECT_EQ(at<std::uint16_t>(ioapic, 0), 0x0C01);
    EXPECT_EQ(at<std::uint64_t>(ioapic, 4), 0xFEC0'0000U) << "and its GSIs begin at 0";
    EXPECT_EQ(at<std::uint64_t>(ioapic, 12), 0x0000'0009'0900'0A02U) << "ISA 9 is GSI 9";
    EXPECT_EQ(at<std::uint16_t>(ioapic, 20), 0x000D) << "level, active high";
}

TEST(AcpiTables, LargeApicIdsAreThoseOfX2Apics) {
    const std::array<std::uint32_t, 2> ids{254, 255};
    const auto madt = acpi::make_madt(ids);
    EXPECT_EQ(at<std::uint32_t>(madt, 44), 0xFE00'0800U);
    const auto x2apic = std::span<const std::byte>(madt).subspan(52);
    EXPECT_EQ(at<std::uint32_t>(x2apic, 0), 0x1009U);
    EXPECT_EQ(at<std::uint64_t>(x2apic, 4), 0x1'0000'00FFU);
    EXPECT_EQ(at<std::uint32_t>(x2apic, 12), 1U) << "UID";
}

TEST(AcpiTables, ConfigurationSpaceIsListedWithItsBus) {
    const AcpiTables all = build_acpi(full);
    const auto mcfg = all.table("MCFG");
    ASSERT_EQ(mcfg.size(), 60U);
    EXPECT_EQ(at<std::uint64_t>(mcfg, 44), 0xD100'0000U);
    EXPECT_EQ(at<std::uint64_t>(mcfg, 52), 0U) << "segment 0, buses 0..0";
    EXPECT_TRUE(build_acpi({}).table("MCFG").empty());
}

TEST(AcpiTables, DescriptionsBeyondThePlatformAreBrokenPromises) {
    EXPECT_DEATH((void)build_acpi({.cpus = 0}), "vCPUs");
    EXPECT_DEATH((void)build_acpi({.cpus = 65}), "vCPUs");
    EXPECT_DEATH((void)build_acpi({.cpus = 1, .virtio_mmio_devices = 33}), "virtio-mmio");
}

}  // namespace
}  // namespace penumbra::vmm
