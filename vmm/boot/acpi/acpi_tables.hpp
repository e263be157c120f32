// The ACPI tables that describe the Linux platform (platform_map.hpp) to its guest. References are to ACPI 6.5.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.hpp"

namespace penumbra::vmm {

enum class PciHost : unsigned char { absent, present };

/// What differs between one machine and another. COM1, the fixed ACPI hardware and one IOAPIC are always there.
struct PlatformDescription {
    unsigned cpus = 1;                 ///< 1..abi::max_vcpus; vCPU i has APIC id i
    unsigned virtio_mmio_devices = 0;  ///< 0..platform::max_virtio_mmio_devices
    PciHost pci = PciHost::absent;
};

struct AcpiTables {
    struct Table {
        std::string signature;  ///< "RSD PTR ", "XSDT", "FACP", "FACS", "DSDT", "APIC", "MCFG"
        std::size_t offset;     ///< from the first of `bytes`
        std::size_t size;
    };

    std::vector<std::byte> bytes;  ///< belongs at `base`; ends before platform::acpi_end
    Gpa base;                      ///< platform::acpi_base
    Gpa rsdp;                      ///< for LinuxImage::write()
    std::vector<Table> tables;     ///< in the order in which they lie

    /// Empty if there is no such table.
    [[nodiscard]] std::span<const std::byte> table(std::string_view signature) const;
};

/// Asserts that the description keeps to its limits.
[[nodiscard]] AcpiTables build_acpi(const PlatformDescription& platform);

}  // namespace penumbra::vmm
