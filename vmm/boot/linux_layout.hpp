// Where the loader puts what a Linux kernel finds at its start: all below platform::base_memory_end, in RAM that the
// kernel copies what it needs from before it uses that RAM itself.
#pragma once

#include <array>
#include <cstdint>

#include "base/address.hpp"
#include "guest-images/common/machine_abi.hpp"
#include "vmm/boot/platform_map.hpp"

namespace penumbra::vmm::linux_layout {

inline constexpr std::uint64_t gdt = 0x1000;
// Page tables fill [abi::boot_tables_base, abi::boot_stacks_base), as boot_state.hpp writes them.
inline constexpr std::uint64_t boot_params = abi::boot_stacks_base;    ///< one page
inline constexpr std::uint64_t start_info = boot_params + page_bytes;  ///< hvm_start_info and its tables, one page
inline constexpr std::uint64_t stack_top = start_info + 2 * page_bytes;
inline constexpr std::uint64_t command_line = 0x5'0000;
inline constexpr std::uint64_t command_line_bytes = 0x1'0000;  ///< most that is taken, with the terminating zero

static_assert(stack_top <= command_line && command_line + command_line_bytes <= platform::base_memory_end);

/// The segments of the 64-bit boot protocol (kernel, Documentation/arch/x86/boot.rst): flat, code at 0x10, data at
/// 0x18. Code is at 0x08 as well.
inline constexpr std::uint64_t code_descriptor = 0x00AF'9B00'0000'FFFF;
inline constexpr std::uint64_t data_descriptor = 0x00CF'9300'0000'FFFF;
inline constexpr std::array<std::uint64_t, 4> gdt_entries{0, code_descriptor, code_descriptor, data_descriptor};
inline constexpr std::uint16_t code_selector = 0x10;
inline constexpr std::uint16_t data_selector = 0x18;

}  // namespace penumbra::vmm::linux_layout
