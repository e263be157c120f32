// Real data to store: the pages of this program and of the C library, as a guest's page cache would hold them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "vmm/memory/tier/tier.hpp"

namespace penumbra::test {

using Page = std::array<std::byte, page_bytes>;

/// At most `limit` whole pages, none of them all zero; asserts that there are at least 64.
[[nodiscard]] std::vector<Page> library_pages(std::size_t limit = 2048);
/// A page that no compressor shrinks; the same for the same seed.
[[nodiscard]] Page noise_page(std::uint64_t seed);

}  // namespace penumbra::test
