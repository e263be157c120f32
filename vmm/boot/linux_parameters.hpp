// The two structures in which a Linux kernel is told about its machine: boot_params (kernel,
// Documentation/arch/x86/zero-page.rst) and hvm_start_info (Xen, xen/include/public/arch-x86/hvm/start_info.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/address.hpp"
#include "vmm/boot/e820.hpp"
#include "vmm/boot/linux_kernel.hpp"

namespace penumbra::vmm {

/// What has been placed where. The command line lies at linux_layout::command_line.
struct LinuxParameters {
    Gpa rsdp;
    Gpa initrd;                      ///< below 4 GiB
    std::uint64_t initrd_bytes = 0;  ///< 0: there is none; below 4 GiB
    std::vector<E820Range> memory;
};

/// One page, for linux_layout::boot_params.
[[nodiscard]] std::vector<std::byte> make_boot_params(const LinuxKernel& kernel, const LinuxParameters& parameters);

/// hvm_start_info with module list and memory map behind it, for linux_layout::start_info; at most a page.
[[nodiscard]] std::vector<std::byte> make_start_info(const LinuxParameters& parameters);

}  // namespace penumbra::vmm
