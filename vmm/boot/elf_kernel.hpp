// An uncompressed kernel as an ELF file: entered at its PVH entry (Xen, docs/misc/pvh.pandoc) or at its ELF entry in
// 64-bit mode with boot_params.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/result.hpp"
#include "vmm/boot/linux_file.hpp"
#include "vmm/boot/linux_kernel.hpp"

namespace penumbra::vmm {

/// Whether a file that begins with these bytes is an ELF file.
[[nodiscard]] bool is_elf(std::span<const std::byte> start);

/// Checks headers, segments and notes; segments go where their physical addresses say, in RAM [1 MiB, low_ram_bytes).
[[nodiscard]] Result<LinuxKernel> read_elf_kernel(const BootFile& file, std::uint64_t low_ram_bytes, ElfEntry entry);

/// The value of the note XEN_ELFNOTE_PHYS32_ENTRY among `notes` (a note segment with that alignment); empty without
/// one. Nothing at all (an error) where a note reaches beyond the segment or the value is no 32-bit address.
[[nodiscard]] Result<std::optional<std::uint32_t>> find_pvh_entry(std::span<const std::byte> notes,
                                                                  std::uint64_t alignment);

}  // namespace penumbra::vmm
