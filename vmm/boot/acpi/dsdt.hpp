// The table of devices, in bytecode.
#pragma once

#include "vmm/boot/acpi/acpi_tables.hpp"
#include "vmm/boot/acpi/table.hpp"

namespace penumbra::vmm::acpi {

[[nodiscard]] Bytes make_dsdt(const PlatformDescription& platform);

}  // namespace penumbra::vmm::acpi
