// CRC32C (the iSCSI polynomial, reflected) over pieces of a range, so that a sum can cross pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace penumbra::vmm {

/// The register before the first byte.
inline constexpr std::uint32_t crc32c_start = ~std::uint32_t{0};
/// The sum that a register stands for.
[[nodiscard]] constexpr std::uint32_t crc32c_finish(std::uint32_t state) { return ~state; }

/// The register after `data`: by the SSE4.2 instruction where the processor has it.
[[nodiscard]] std::uint32_t crc32c_extend(std::uint32_t state, std::span<const std::byte> data);
/// The same by table, on any processor.
[[nodiscard]] std::uint32_t crc32c_extend_portable(std::uint32_t state, std::span<const std::byte> data);

}  // namespace penumbra::vmm
