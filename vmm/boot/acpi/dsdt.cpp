#include "vmm/boot/acpi/dsdt.hpp"

#include <string>

#include "base/assert.hpp"
#include "vmm/boot/acpi/resources.hpp"
#include "vmm/boot/platform_map.hpp"

namespace penumbra::vmm::acpi {

namespace {

using namespace aml;
using namespace platform;

/// A letter and a number, such as "V01F": a device's name among its like.
std::string numbered(char letter, unsigned number) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    PENUMBRA_ASSERT(number < 0x1000, "a device number of three digits");
    return {letter, digits[number >> 8], digits[number >> 4 & 15], digits[number & 15]};
}

Bytes processor(unsigned uid) {
    return device(numbered('C', uid), {name("_HID", string("ACPI0007")), name("_UID", integer(uid))});
}

/// Interrupts of all slots (ACPI 6.5, 6.2.13): {device << 16 | any function, pin, no link device, GSI}.
Bytes interrupt_routing() {
    Terms routes;
    for (unsigned slot = 0; slot < pci_devices_per_bus; ++slot) {
        for (unsigned pin = 0; pin < intx_gsis; ++pin) {
            routes.push_back(package(
                {integer(std::uint64_t{slot} << 16 | 0xFFFF), integer(pin), integer(0), integer(intx_gsi(slot, pin))}));
        }
    }
    return constant_method("_PRT", package(routes));
}

Bytes pci_host() {
    constexpr std::uint16_t config_ports = 8;
    constexpr std::uint16_t behind_config = pci_address_port + config_ports;
    const Bytes resources = resource_template({
        bus_numbers(0, pci_buses - 1),
        io_ports(pci_address_port, config_ports),
        io_window(0, pci_address_port - 1),
        io_window(behind_config, 0xFFFF),
        memory_window(pci_window_base, pci_window_end - 1),
    });
    return device("PCI0",
                  {name("_HID", eisa_id("PNP0A08")), name("_CID", eisa_id("PNP0A03")), name("_SEG", integer(0)),
                   name("_BBN", integer(0)), name("_UID", integer(0)), name("_CRS", resources), interrupt_routing()});
}

/// What no driver's device owns. ECAM must be here, or an OS will not use it (PCI Firmware Specification 3.3, 4.1.2).
Bytes motherboard(PciHost pci) {
    Terms resources{io_ports(pm1a_event_port, pm_timer_port + pm_timer_bytes - pm1a_event_port)};
    if (pci == PciHost::present) resources.push_back(fixed_memory(ecam_base, ecam_bytes));
    return device("MBRD", {name("_HID", eisa_id("PNP0C02")), name("_UID", integer(0)),
                           name("_CRS", resource_template(resources))});
}

Bytes serial_port() {
    const Bytes resources = resource_template({io_ports(com1_port, com1_ports), isa_irq(com1_gsi)});
    return device("COM1", {name("_HID", eisa_id("PNP0501")), name("_UID", integer(1)), name("_CRS", resources)});
}

Bytes virtio_mmio(unsigned index) {
    const Bytes resources = resource_template(
        {fixed_memory(virtio_mmio_address(index), virtio_mmio_bytes), level_interrupt(virtio_mmio_gsi(index))});
    return device(numbered('V', index),
                  {name("_HID", string("LNRO0005")), name("_UID", integer(index)), name("_CRS", resources)});
}

}  // namespace

Bytes make_dsdt(const PlatformDescription& platform) {
    Terms devices{motherboard(platform.pci), serial_port()};
    for (unsigned i = 0; i < platform.cpus; ++i) devices.push_back(processor(i));
    for (unsigned i = 0; i < platform.virtio_mmio_devices; ++i) devices.push_back(virtio_mmio(i));
    if (platform.pci == PciHost::present) devices.push_back(pci_host());

    Bytes body = scope("_SB", devices);
    // Values for the PM1a and PM1b control registers, then two reserved ones (ACPI 6.5, 7.4.2).
    append(body, name("_S5", package({integer(sleep_type_off), integer(0), integer(0), integer(0)})));
    return make_table("DSDT", 2, body);  // revision 2: integers have 64 bits
}

}  // namespace penumbra::vmm::acpi
