// The memory map that a Linux guest is given: what is RAM, what is not to be touched.
#pragma once

#include <cstdint>
#include <vector>

#include "vmm/boot/address_layout.hpp"

namespace penumbra::vmm {

/// ACPI 6.5, table 15.6; boot_params and hvm_start_info use the same numbers.
enum class E820Type : std::uint32_t { ram = 1, reserved = 2, acpi = 3 };

struct E820Range {
    std::uint64_t first;  ///< guest-physical, bytes
    std::uint64_t bytes;
    E820Type type;

    friend bool operator==(const E820Range&, const E820Range&) = default;
};

/// In ascending order, without overlaps; at most six ranges.
[[nodiscard]] std::vector<E820Range> e820_map(const AddressLayout& layout);

}  // namespace penumbra::vmm
