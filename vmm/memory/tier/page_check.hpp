// The check that every stored page carries: 64 bits over the stored bytes (compressed or raw), their encoding and
// length, and the identity they were stored for. A wrong page, VM or version fails it like a flipped bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "vmm/memory/tier/tier.hpp"

namespace penumbra::vmm {

/// Taken before the bytes leave the caller's hands and compared before they are decompressed. Any thread.
[[nodiscard]] std::uint64_t page_check(const PageIdentity& identity, Encoding encoding,
                                       std::span<const std::byte> stored);

/// The answer of a tier whose stored bytes do not belong to `identity`.
[[nodiscard]] std::unexpected<StoreError> corrupt_page(std::string_view where, const PageIdentity& identity);

/// Flips one bit: what Plant::corrupt_stored_page does to bytes whose check was already taken.
void flip_one_bit(std::span<std::byte> stored);

}  // namespace penumbra::vmm
