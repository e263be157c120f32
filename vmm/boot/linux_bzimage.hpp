// The bzImage format: Linux's x86 boot protocol (kernel, Documentation/arch/x86/boot.rst), 64-bit entry only.
#pragma once

#include <cstdint>

#include "base/result.hpp"
#include "vmm/boot/linux_file.hpp"
#include "vmm/boot/linux_kernel.hpp"

namespace penumbra::vmm {

/// Checks the setup header and places the kernel in RAM [1 MiB, low_ram_bytes).
[[nodiscard]] Result<LinuxKernel> read_bzimage(const BootFile& file, std::uint64_t low_ram_bytes);

}  // namespace penumbra::vmm
