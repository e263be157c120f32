// What a kernel file asks of its loader, whatever its format: the result of linux_bzimage and elf_kernel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/address.hpp"

namespace penumbra::vmm {

/// How an ELF kernel is entered. A bzImage always uses its 64-bit entry.
enum class ElfEntry : unsigned char {
    automatic,  ///< PVH if the kernel has a PVH entry, else 64-bit
    pvh,        ///< PVH or an error
    long_mode,  ///< the 64-bit entry with boot_params, even if there is a PVH entry
};

enum class LinuxProtocol : unsigned char { boot_params, pvh };

/// One piece of a kernel: bytes of the file, then zeroes. Lies in RAM from 1 MiB to the end of low RAM; pieces do not
/// overlap.
struct KernelPart {
    std::uint64_t file_offset;
    std::uint64_t file_bytes;
    Gpa target;
    std::uint64_t memory_bytes;  ///< at least file_bytes
};

struct LinuxKernel {
    std::vector<KernelPart> parts;
    LinuxProtocol protocol;
    Gpa entry;                            ///< lies in a part's file bytes
    Gpa end;                              ///< first byte the kernel does not need while it starts
    std::uint64_t initrd_limit;           ///< first guest-physical address the initrd may not use
    std::uint64_t command_line_limit;     ///< most characters, without the terminating zero
    std::vector<std::byte> setup_header;  ///< bzImage: the file's bytes from 0x1F1 on, at most what boot_params holds
};

}  // namespace penumbra::vmm
