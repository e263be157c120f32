#include "base/assert.hpp"
#include "vmm/boot/acpi/static_tables.hpp"
#include "vmm/boot/platform_map.hpp"

namespace penumbra::vmm::acpi {

namespace {

using aml::append_integer;
using namespace platform;

constexpr std::size_t fadt_bytes = 276;
constexpr std::size_t port_bytes = 12;  // of a generic address structure

// IA-PC boot architecture flags (table 5.11): no legacy devices to look for, no 8042.
constexpr std::uint16_t no_vga = 1 << 2, no_aspm = 1 << 4, no_cmos_rtc = 1 << 5;
// Fixed feature flags (table 5.10). PWR_BUTTON stays 0: the power button is fixed hardware.
constexpr std::uint32_t wbinvd_works = 1 << 0, c1_on_all = 1 << 2, no_fixed_sleep_button = 1 << 5,
                        no_fixed_rtc_wake = 1 << 6, timer_is_32_bits = 1 << 8, reset_register = 1 << 10,
                        headless = 1 << 12;
constexpr std::uint16_t no_c2 = 101, no_c3 = 1001;  // latencies that say "not supported"

void append_legacy_blocks(Bytes& body) {
    append_integer(body, pm1a_event_port, 4);
    append_zeroes(body, 4);  // PM1b events
    append_integer(body, pm1a_control_port, 4);
    append_zeroes(body, 8);  // PM1b and PM2 control
    append_integer(body, pm_timer_port, 4);
    append_zeroes(body, 8);  // GPE0 and GPE1
    append_integer(body, pm1_event_bytes, 1);
    append_integer(body, pm1_control_bytes, 1);
    append_zeroes(body, 1);  // PM2 control
    append_integer(body, pm_timer_bytes, 1);
    append_zeroes(body, 4);  // GPE lengths and base, C-state control
}

void append_extended_blocks(Bytes& body) {
    append_ports(body, pm1a_event_port, pm1_event_bytes, AccessSize::word);
    append_zeroes(body, port_bytes);
    append_ports(body, pm1a_control_port, pm1_control_bytes, AccessSize::word);
    append_zeroes(body, 2 * port_bytes);
    append_ports(body, pm_timer_port, pm_timer_bytes, AccessSize::dword);
    append_zeroes(body, 4 * port_bytes);  // GPE0, GPE1, sleep control and status
}

}  // namespace

Bytes make_fadt(Gpa facs, Gpa dsdt) {
    Bytes body;
    append_integer(body, facs.value(), 4);
    append_integer(body, dsdt.value(), 4);
    append_zeroes(body, 2);  // no preferred power profile
    append_integer(body, sci_gsi, 2);
    append_zeroes(body, 8);  // no SMI command port: there is no legacy mode to leave
    append_legacy_blocks(body);
    append_integer(body, no_c2, 2);
    append_integer(body, no_c3, 2);
    append_zeroes(body, 9);  // cache flush, duty cycle, RTC alarm, century
    append_integer(body, no_vga | no_aspm | no_cmos_rtc, 2);
    append_zeroes(body, 1);
    append_integer(body,
                   wbinvd_works | c1_on_all | no_fixed_sleep_button | no_fixed_rtc_wake | timer_is_32_bits |
                       reset_register | headless,
                   4);
    append_ports(body, reset_port, 1, AccessSize::byte);
    append_integer(body, reset_value, 1);
    append_zeroes(body, 2);      // Arm boot flags
    append_integer(body, 5, 1);  // minor revision
    // Only one of each address pair may be set where it fits into 32 bits (5.2.9): X_FIRMWARE_CTRL stays 0.
    append_zeroes(body, 8);
    append_integer(body, dsdt.value(), 8);
    append_extended_blocks(body);
    append_text(body, "Penumbra");  // hypervisor vendor
    PENUMBRA_ASSERT(header_bytes + body.size() == fadt_bytes, "the FADT's size");
    return make_table("FACP", 6, body);
}

}  // namespace penumbra::vmm::acpi
