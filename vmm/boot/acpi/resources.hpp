// Resource descriptors of AML (ACPI 6.5, 6.4): which ports, memory and interrupts a device has or passes on.
#pragma once

#include <cstdint>

#include "vmm/boot/acpi/aml.hpp"

namespace penumbra::vmm::aml {

/// The value of a _CRS: the descriptors and their end tag, in a buffer.
[[nodiscard]] Bytes resource_template(const Terms& descriptors);

/// Fixed ports, all 16 address bits decoded.
[[nodiscard]] Bytes io_ports(std::uint16_t first, std::uint8_t count);
/// Edge-triggered, active high, exclusive; irq is 0..15.
[[nodiscard]] Bytes isa_irq(unsigned irq);
/// Level-triggered, active high, shared.
[[nodiscard]] Bytes level_interrupt(std::uint32_t gsi);
/// Fixed memory below 4 GiB, readable and writable.
[[nodiscard]] Bytes fixed_memory(std::uint64_t first, std::uint64_t bytes);

// What a bridge passes on to the devices behind it. `last` is inclusive.
[[nodiscard]] Bytes bus_numbers(std::uint16_t first, std::uint16_t last);
[[nodiscard]] Bytes io_window(std::uint16_t first, std::uint16_t last);
/// Not cached, not prefetchable, below 4 GiB.
[[nodiscard]] Bytes memory_window(std::uint64_t first, std::uint64_t last);

}  // namespace penumbra::vmm::aml
