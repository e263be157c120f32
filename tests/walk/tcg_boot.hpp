// How QEMU gets into a flat guest image: a Multiboot kernel of one page that turns on 64-bit mode.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace penumbra::test {

inline constexpr std::uint64_t tcg_kernel_base = 0x0150'0000;
inline constexpr std::uint64_t tcg_tables_base = 0x0151'0000;

/// The file for QEMU's -kernel.
[[nodiscard]] std::vector<std::byte> tcg_kernel();
/// What must lie at tcg_tables_base: page tables of so many levels for the first GiB, mode, descriptor table, boot
/// information. The stack grows down from tcg_tables_base + 0x5000.
[[nodiscard]] std::vector<std::byte> tcg_tables(unsigned levels);

}  // namespace penumbra::test
