// Where the Linux platform's devices lie: the one place that says so, for the devices, for KVM and for the ACPI tables
// that tell the guest. RAM is address_layout.hpp's business.
#pragma once

#include <array>
#include <cstdint>

namespace penumbra::vmm::platform {

// ---- Memory (guest-physical). RAM ends at 0xC000'0000 at the latest and goes on at 4 GiB. ---------------------------
inline constexpr std::uint64_t base_memory_end = 0x9'F000;  ///< what a PC leaves below its EBDA; RAM below it is free
inline constexpr std::uint64_t acpi_base = 0xE'0000;        ///< all ACPI tables; an OS looks here for the RSDP
inline constexpr std::uint64_t acpi_end = 0x10'0000;        ///< (ACPI 6.5, 5.2.5.1); typed ACPI in the memory map
inline constexpr std::uint64_t high_memory_base = 0x10'0000;

inline constexpr std::uint64_t pci_window_base = 0xC000'0000;  ///< 32-bit BARs
inline constexpr std::uint64_t pci_window_end = 0xD000'0000;   ///< the guest port and the accelerator follow

inline constexpr std::uint64_t virtio_mmio_base = 0xD010'0000;
inline constexpr std::uint64_t virtio_mmio_bytes = 0x1000;  ///< one device's registers
inline constexpr unsigned max_virtio_mmio_devices = 32;

inline constexpr std::uint64_t ecam_base = 0xD100'0000;
inline constexpr std::uint64_t ecam_bytes_per_bus = 0x10'0000;  ///< PCI Firmware Specification 3.3, 4.1.2
inline constexpr unsigned pci_buses = 1;
inline constexpr unsigned pci_devices_per_bus = 32;
inline constexpr std::uint64_t ecam_bytes = ecam_bytes_per_bus * pci_buses;

// Fixed by KVM's in-kernel interrupt controllers (kernel, arch/x86/kvm/ioapic.h and lapic.c) and by every PC.
inline constexpr std::uint64_t ioapic_base = 0xFEC0'0000;
inline constexpr std::uint64_t lapic_base = 0xFEE0'0000;
inline constexpr unsigned ioapic_pins = 24;

// ---- I/O ports ------------------------------------------------------------------------------------------------------
inline constexpr std::uint16_t com1_port = 0x3F8;
inline constexpr std::uint16_t com1_ports = 8;
inline constexpr std::uint16_t pci_address_port = 0xCF8;  ///< PCI Local Bus 3.0, 3.2.2.3.2
inline constexpr std::uint16_t pci_data_port = 0xCFC;
inline constexpr std::uint16_t reset_port = 0xCF9;  ///< byte access; writing reset_value restarts the guest
inline constexpr std::uint8_t reset_value = 6;
inline constexpr std::uint16_t keyboard_reset_port = 0x64;  ///< not announced, but kernels try it
inline constexpr std::uint8_t keyboard_reset_value = 0xFE;

// ACPI fixed hardware (ACPI 6.5, 4.8.3). No legacy mode: SMI_CMD is 0, so PM1 control reads with SCI_EN set, always.
inline constexpr std::uint16_t pm1a_event_port = 0x600;  ///< status word, enable word
inline constexpr std::uint8_t pm1_event_bytes = 4;
inline constexpr std::uint16_t pm1a_control_port = 0x604;
inline constexpr std::uint8_t pm1_control_bytes = 2;
inline constexpr std::uint16_t pm_timer_port = 0x608;
inline constexpr std::uint8_t pm_timer_bytes = 4;  ///< counts all 32 bits
inline constexpr std::uint64_t pm_timer_hertz = 3'579'545;
inline constexpr std::uint8_t sleep_type_off = 5;  ///< SLP_TYP (PM1 control bits 10..12) that with SLP_EN means S5

// ---- Interrupts (GSI = pin of the one IOAPIC) -----------------------------------------------------------------------
inline constexpr unsigned com1_gsi = 4;  ///< edge
inline constexpr unsigned sci_gsi = 9;   ///< level, active high
inline constexpr std::array<unsigned, 6> virtio_mmio_gsis{5, 6, 7, 10, 11, 12};
inline constexpr unsigned first_intx_gsi = 16;
inline constexpr unsigned intx_gsis = 4;

constexpr std::uint64_t virtio_mmio_address(unsigned device) { return virtio_mmio_base + device * virtio_mmio_bytes; }
/// Level, active high, shared among devices.
constexpr unsigned virtio_mmio_gsi(unsigned device) { return virtio_mmio_gsis[device % virtio_mmio_gsis.size()]; }
/// INTA is pin 0. Level, shared; rotates by device as the swizzle of PCI bridges does.
constexpr unsigned intx_gsi(unsigned device, unsigned pin) { return first_intx_gsi + (device + pin) % intx_gsis; }

static_assert(virtio_mmio_address(max_virtio_mmio_devices) <= ecam_base);
static_assert(first_intx_gsi + intx_gsis <= ioapic_pins);

}  // namespace penumbra::vmm::platform
