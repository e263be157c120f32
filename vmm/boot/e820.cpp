#include "vmm/boot/e820.hpp"

#include "guest-images/common/machine_abi.hpp"
#include "vmm/boot/platform_map.hpp"

namespace penumbra::vmm {

std::vector<E820Range> e820_map(const AddressLayout& layout) {
    using namespace platform;
    std::vector<E820Range> map{
        {0, base_memory_end, E820Type::ram},
        {base_memory_end, acpi_base - base_memory_end, E820Type::reserved},
        {acpi_base, acpi_end - acpi_base, E820Type::acpi},
        {high_memory_base, layout.low_bytes() - high_memory_base, E820Type::ram},
        {ecam_base, ecam_bytes, E820Type::reserved},
    };
    if (layout.high_bytes() > 0) map.push_back({abi::high_ram_base, layout.high_bytes(), E820Type::ram});
    return map;
}

}  // namespace penumbra::vmm
