// A writer of AML, ACPI's bytecode (ACPI 6.5, chapter 20): each function makes the bytes of one term from the bytes of
// the terms in it. For tables of our own: broken names and oversized terms are broken promises, hence asserted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

namespace penumbra::vmm::aml {

using Bytes = std::vector<std::byte>;
using Terms = std::vector<Bytes>;

/// The least significant `count` bytes of `value`, lowest first: every integer in ACPI tables.
void append_integer(Bytes& bytes, std::uint64_t value, unsigned count);
void append(Bytes& bytes, std::span<const std::byte> more);

/// A package length (20.2.4) for `content` bytes that follow it; counts itself. At most 2^28 - 5 bytes of content.
[[nodiscard]] Bytes package_length(std::size_t content);
/// A name such as "PCI0", "\\_SB.PCI0" or "^_STA": segments of up to four of A-Z, 0-9 and _, not starting with a digit.
[[nodiscard]] Bytes name_string(std::string_view path);

/// In the shortest form that holds it.
[[nodiscard]] Bytes integer(std::uint64_t value);
/// Printable ASCII.
[[nodiscard]] Bytes string(std::string_view text);
/// The packed form of an identifier such as "PNP0A08": three letters, four hexadecimal digits (19.3.4).
[[nodiscard]] Bytes eisa_id(std::string_view id);
[[nodiscard]] Bytes buffer(std::span<const std::byte> contents);
/// At most 255 elements.
[[nodiscard]] Bytes package(const Terms& elements);

/// Gives `value` a name.
[[nodiscard]] Bytes name(std::string_view path, const Bytes& value);
[[nodiscard]] Bytes scope(std::string_view path, const Terms& terms);
[[nodiscard]] Bytes device(std::string_view path, const Terms& terms);
/// A method without arguments, not serialised, that returns `value`, a constant.
[[nodiscard]] Bytes constant_method(std::string_view path, const Bytes& value);

}  // namespace penumbra::vmm::aml
