#include "vmm/boot/acpi/acpi_tables.hpp"

#include <algorithm>
#include <numeric>

#include "base/assert.hpp"
#include "guest-images/common/machine_abi.hpp"
#include "vmm/boot/acpi/dsdt.hpp"
#include "vmm/boot/acpi/static_tables.hpp"
#include "vmm/boot/platform_map.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::size_t alignment = 64;   // the FACS wants it
constexpr std::size_t root_bytes = 64;  // room for the root pointer, which is written last

Gpa add(AcpiTables& tables, std::string_view signature, const acpi::Bytes& table) {
    tables.bytes.resize((tables.bytes.size() + alignment - 1) / alignment * alignment);
    const Gpa address = tables.base + tables.bytes.size();
    tables.tables.push_back({std::string(signature), tables.bytes.size(), table.size()});
    aml::append(tables.bytes, table);
    return address;
}

std::vector<std::uint32_t> apic_ids(unsigned cpus) {
    std::vector<std::uint32_t> ids(cpus);
    std::iota(ids.begin(), ids.end(), 0U);
    return ids;
}

}  // namespace

std::span<const std::byte> AcpiTables::table(std::string_view signature) const {
    const auto found = std::ranges::find(tables, signature, &Table::signature);
    if (found == tables.end()) return {};
    return std::span(bytes).subspan(found->offset, found->size);
}

AcpiTables build_acpi(const PlatformDescription& platform) {
    PENUMBRA_ASSERT(platform.cpus >= 1 && platform.cpus <= abi::max_vcpus, "number of vCPUs in ACPI tables");
    PENUMBRA_ASSERT(platform.virtio_mmio_devices <= platform::max_virtio_mmio_devices, "virtio-mmio devices");
    AcpiTables all{.bytes = {}, .base = Gpa{platform::acpi_base}, .rsdp = Gpa{platform::acpi_base}, .tables = {}};
    all.bytes.resize(root_bytes);
    all.tables.push_back({"RSD PTR ", 0, 0});

    const Gpa facs = add(all, "FACS", acpi::make_facs());
    const Gpa dsdt = add(all, "DSDT", acpi::make_dsdt(platform));
    std::vector<Gpa> listed{add(all, "FACP", acpi::make_fadt(facs, dsdt)),
                            add(all, "APIC", acpi::make_madt(apic_ids(platform.cpus)))};
    if (platform.pci == PciHost::present) listed.push_back(add(all, "MCFG", acpi::make_mcfg()));
    const acpi::Bytes root = acpi::make_rsdp(add(all, "XSDT", acpi::make_xsdt(listed)));
    PENUMBRA_ASSERT(root.size() <= root_bytes, "room for the ACPI root pointer");
    std::ranges::copy(root, all.bytes.begin());
    all.tables.front().size = root.size();
    PENUMBRA_ASSERT(all.bytes.size() <= platform::acpi_end - platform::acpi_base, "room for the ACPI tables");
    return all;
}

}  // namespace penumbra::vmm
