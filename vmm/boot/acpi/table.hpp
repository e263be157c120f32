// What ACPI's tables have in common (ACPI 6.5, 5.2.6): little-endian fields behind a header with length and checksum.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "vmm/boot/acpi/aml.hpp"

namespace penumbra::vmm::acpi {

using aml::Bytes;

inline constexpr std::size_t header_bytes = 36;
inline constexpr std::string_view oem_id = "PNUMBR";

/// A whole table: `body` behind a header that describes it, checksum included.
[[nodiscard]] Bytes make_table(std::string_view signature, std::uint8_t revision, const Bytes& body);

void append_text(Bytes& bytes, std::string_view text);
void append_zeroes(Bytes& bytes, std::size_t count);
/// How wide an access to a register may be (table 5.1).
enum class AccessSize : std::uint8_t { byte = 1, word = 2, dword = 3 };
/// A generic address structure (5.2.3.2) of `length` bytes of registers in I/O port space.
void append_ports(Bytes& bytes, std::uint16_t first, std::uint8_t length, AccessSize access);

/// The value of the checksum byte, 0 until now, that makes the bytes add up to 0.
[[nodiscard]] std::byte checksum_of(std::span<const std::byte> bytes);

}  // namespace penumbra::vmm::acpi
