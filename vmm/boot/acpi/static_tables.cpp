#include "vmm/boot/acpi/static_tables.hpp"

#include "base/assert.hpp"
#include "vmm/boot/platform_map.hpp"

namespace penumbra::vmm::acpi {

namespace {

using aml::append_integer;
using namespace platform;

constexpr std::size_t rsdp_checksum = 8, rsdp_checksum_covers = 20, rsdp_bytes = 36, rsdp_extended_checksum = 32;
constexpr std::size_t facs_bytes = 64;

// MADT entries (5.2.12.2, .3, .5, .12).
enum class MadtEntry : std::uint8_t { local_apic = 0, io_apic = 1, source_override = 2, local_x2apic = 9 };
constexpr std::uint32_t legacy_pics = 1;  // PCAT_COMPAT
constexpr std::uint32_t enabled = 1;
constexpr std::uint32_t first_x2apic_id = 255;
constexpr std::uint16_t active_high = 1, level_triggered = 3 << 2;

void append_processor(Bytes& body, std::uint32_t uid, std::uint32_t apic_id) {
    if (apic_id < first_x2apic_id) {
        append_integer(body, static_cast<std::uint8_t>(MadtEntry::local_apic), 1);
        append_integer(body, 8, 1);
        append_integer(body, uid, 1);
        append_integer(body, apic_id, 1);
        append_integer(body, enabled, 4);
    } else {
        append_integer(body, static_cast<std::uint8_t>(MadtEntry::local_x2apic), 1);
        append_integer(body, 16, 1);
        append_zeroes(body, 2);
        append_integer(body, apic_id, 4);
        append_integer(body, enabled, 4);
        append_integer(body, uid, 4);
    }
}

}  // namespace

Bytes make_rsdp(Gpa xsdt) {
    Bytes bytes;
    append_text(bytes, "RSD PTR ");
    append_zeroes(bytes, 1);
    append_text(bytes, oem_id);
    append_integer(bytes, 2, 1);  // revision
    append_zeroes(bytes, 4);      // there is no RSDT
    append_integer(bytes, rsdp_bytes, 4);
    append_integer(bytes, xsdt.value(), 8);
    append_zeroes(bytes, 4);
    PENUMBRA_ASSERT(bytes.size() == rsdp_bytes, "the ACPI root pointer's size");
    bytes[rsdp_checksum] = checksum_of(std::span(bytes).first(rsdp_checksum_covers));
    bytes[rsdp_extended_checksum] = checksum_of(bytes);
    return bytes;
}

Bytes make_xsdt(std::span<const Gpa> tables) {
    Bytes body;
    for (const Gpa table : tables) append_integer(body, table.value(), 8);
    return make_table("XSDT", 1, body);
}

Bytes make_facs() {
    Bytes bytes;
    append_text(bytes, "FACS");
    append_integer(bytes, facs_bytes, 4);
    append_zeroes(bytes, 24);     // hardware signature, waking vectors, global lock, flags
    append_integer(bytes, 2, 1);  // version
    append_zeroes(bytes, facs_bytes - bytes.size());
    return bytes;
}

Bytes make_madt(std::span<const std::uint32_t> apic_ids) {
    Bytes body;
    append_integer(body, lapic_base, 4);
    append_integer(body, legacy_pics, 4);
    for (std::size_t i = 0; i < apic_ids.size(); ++i)
        append_processor(body, static_cast<std::uint32_t>(i), apic_ids[i]);

    append_integer(body, static_cast<std::uint8_t>(MadtEntry::io_apic), 1);
    append_integer(body, 12, 1);
    append_integer(body, 0, 1);  // its id
    append_zeroes(body, 1);
    append_integer(body, ioapic_base, 4);
    append_integer(body, 0, 4);  // its first GSI

    append_integer(body, static_cast<std::uint8_t>(MadtEntry::source_override), 1);
    append_integer(body, 10, 1);
    append_integer(body, 0, 1);  // bus: ISA
    append_integer(body, sci_gsi, 1);
    append_integer(body, sci_gsi, 4);
    append_integer(body, active_high | level_triggered, 2);
    return make_table("APIC", 5, body);
}

Bytes make_mcfg() {
    Bytes body;
    append_zeroes(body, 8);
    append_integer(body, ecam_base, 8);
    append_integer(body, 0, 2);  // segment
    append_integer(body, 0, 1);  // first bus
    append_integer(body, pci_buses - 1, 1);
    append_zeroes(body, 4);
    return make_table("MCFG", 1, body);
}

}  // namespace penumbra::vmm::acpi
