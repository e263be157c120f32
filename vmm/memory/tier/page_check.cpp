#include "vmm/memory/tier/page_check.hpp"

#include <array>
#include <string>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace penumbra::vmm {

std::uint64_t page_check(const PageIdentity& identity, Encoding encoding, std::span<const std::byte> stored) {
    // The contents' hash is hashed again with the identity: no identity can be traded against contents, as a plain
    // exclusive-or of the two would allow.
    const std::array<std::uint64_t, 5> bound{XXH3_64bits(stored.data(), stored.size()), identity.vm, identity.page,
                                             identity.version,
                                             stored.size() << 8 | static_cast<std::uint64_t>(encoding)};
    return XXH3_64bits(bound.data(), sizeof bound);
}

std::unexpected<StoreError> corrupt_page(std::string_view where, const PageIdentity& identity) {
    return std::unexpected{
        StoreError{StoreFailure::corrupt,
                   Error{"trust the stored page", std::string{where} + ", page " + std::to_string(identity.page), 0,
                         "its check does not match what was stored; the page is not used"}}};
}

void flip_one_bit(std::span<std::byte> stored) {
    if (!stored.empty()) stored[stored.size() / 2] ^= std::byte{0x10};
}

}  // namespace penumbra::vmm
