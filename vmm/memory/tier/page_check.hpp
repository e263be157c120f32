// The check that every stored page carries: 64 bits over the page's contents, however they are encoded, and the
// identity they were stored for. It is taken once, goes with the stored bytes from tier to tier, and is compared where
// they are decoded: a wrong page, VM or version fails it like a flipped bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "vmm/memory/tier/tier.hpp"

namespace penumbra::vmm {

/// XXH3 of a whole page with this process's own seed, so that no guest can prepare two pages that share one.
enum class ContentHash : std::uint64_t {};

/// Any thread.
[[nodiscard]] ContentHash content_hash(ConstPageBytes page);
[[nodiscard]] std::uint64_t page_check(const PageIdentity& identity, ContentHash contents);
[[nodiscard]] inline std::uint64_t page_check(const PageIdentity& identity, ConstPageBytes page) {
    return page_check(identity, content_hash(page));
}
/// The contents that `check` was made of, if it was made for `identity`.
[[nodiscard]] ContentHash checked_contents(const PageIdentity& identity, std::uint64_t check);

/// The answer of a tier whose stored bytes do not belong to `owner`.
[[nodiscard]] std::unexpected<StoreError> corrupt_page(std::string_view where, const PageOwner& owner);

/// Flips one bit: what Plant::corrupt_stored_page does to bytes whose check was already taken.
void flip_one_bit(std::span<std::byte> stored);

}  // namespace penumbra::vmm
