// The tables without bytecode: one function each.
#pragma once

#include <cstdint>
#include <span>

#include "base/address.hpp"
#include "vmm/boot/acpi/table.hpp"

namespace penumbra::vmm::acpi {

/// Root pointer (ACPI 6.5, 5.2.5.3).
[[nodiscard]] Bytes make_rsdp(Gpa xsdt);
[[nodiscard]] Bytes make_xsdt(std::span<const Gpa> tables);
/// Fixed hardware (5.2.9), revision 6.
[[nodiscard]] Bytes make_fadt(Gpa facs, Gpa dsdt);
/// Where firmware and OS would share a lock and a waking vector (5.2.10): neither is used. Wants 64-byte alignment.
[[nodiscard]] Bytes make_facs();
/// Interrupt controllers (5.2.12). Processor i has UID i and the i-th of these APIC ids: as local APIC below 255, else
/// as local x2APIC. The SCI is level-triggered, active high.
[[nodiscard]] Bytes make_madt(std::span<const std::uint32_t> apic_ids);
/// Memory-mapped PCI configuration space (PCI Firmware Specification 3.3, 4.1.2).
[[nodiscard]] Bytes make_mcfg();

}  // namespace penumbra::vmm::acpi
