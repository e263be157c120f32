// A page as the store holds it: 24 bytes of header, then its stored bytes. The header tells people, and messages, what
// an answer is; what counts is what stayed in RAM.
//
//   0  "PNBR"    4  format (1)    5  encoding    6  length (2 bytes)    8  check (8 bytes)
//  16  page (4 bytes)            20  version (4 bytes)                  all little-endian
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "vmm/memory/tier/tier.hpp"

namespace penumbra::vmm {

inline constexpr std::size_t value_header_bytes = 24;
inline constexpr std::size_t largest_value = value_header_bytes + page_bytes;

/// What stays in RAM of a stored page.
struct PageForm {
    std::uint64_t check = 0;    ///< page_check() of the contents
    std::uint32_t page = 0;     ///< page_index_bits
    std::uint32_t version = 0;  ///< page_version_bits
    std::uint16_t length = 0;   ///< 1 to 4096
    Encoding encoding = Encoding::raw;
};

/// Fills `value` from `form.length` stored bytes and answers how much of it counts.
[[nodiscard]] std::size_t write_value(const PageForm& form, const std::byte* stored,
                                      std::span<std::byte, largest_value> value);

enum class ValueFault : std::uint8_t {
    none,
    foreign,     ///< nothing that Penumbra stored
    other_page,  ///< stored by Penumbra for another page
    other_time,  ///< stored for this page, but another version of it
    damaged,     ///< this very page, but changed since
};

/// Decodes a store's answer to `out` and checks that it is what `form` says of a page of VM `vm`. Any bytes are safe to
/// give; `out` is spoilt unless the answer is `none`.
[[nodiscard]] ValueFault read_value(std::span<const std::byte> value, std::uint64_t vm, const PageForm& form,
                                    PageBytes out);

}  // namespace penumbra::vmm
