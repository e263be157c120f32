#include "vmm/memory/tier/page_check.hpp"

#include <unistd.h>

#include <array>
#include <string>

#include "base/assert.hpp"
#include "base/planted.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace penumbra::vmm {

namespace {

/// Builds with test switches promise the same run for the same input.
[[nodiscard]] std::uint64_t make_seed() {
    std::uint64_t seed = 0x9e3779b97f4a7c15;
    if (!test_switches) PENUMBRA_ASSERT(::getentropy(&seed, sizeof seed) == 0, "the kernel has random numbers");
    return seed;
}

[[nodiscard]] std::uint64_t process_seed() {
    static const std::uint64_t seed = make_seed();
    return seed;
}

[[nodiscard]] std::uint64_t identity_hash(const PageIdentity& identity) {
    const std::array<std::uint64_t, 3> bound{identity.vm, identity.page,
                                             identity.version & ((std::uint64_t{1} << page_version_bits) - 1)};
    return XXH3_64bits_withSeed(bound.data(), sizeof bound, process_seed());
}

}  // namespace

ContentHash content_hash(ConstPageBytes page) {
    return ContentHash{XXH3_64bits_withSeed(page.data(), page.size(), process_seed())};
}

// Both halves are hashes: what takes one identity's check to another's is as unlikely as any other collision, and the
// way back gives the contents' hash without reading the contents.
std::uint64_t page_check(const PageIdentity& identity, ContentHash contents) {
    return identity_hash(identity) ^ static_cast<std::uint64_t>(contents);
}

ContentHash checked_contents(const PageIdentity& identity, std::uint64_t check) {
    return ContentHash{identity_hash(identity) ^ check};
}

std::unexpected<StoreError> corrupt_page(std::string_view where, const PageOwner& owner) {
    return std::unexpected{
        StoreError{StoreFailure::corrupt,
                   Error{"trust the stored page", std::string{where} + ", page " + std::to_string(owner.page), 0,
                         "its check does not match what was stored; the page is not used"}}};
}

void flip_one_bit(std::span<std::byte> stored) {
    if (!stored.empty()) stored[stored.size() / 2] ^= std::byte{0x10};
}

}  // namespace penumbra::vmm
