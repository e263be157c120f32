// Sizes of a translation's leaf: one table level each (SDM volume 3, sections 4.5 and 29.3).
#pragma once

#include <cstdint>

#include "base/address.hpp"

namespace penumbra {

/// Table level whose entry maps one leaf of that size; the value counts levels from the bottom.
enum class Level : std::uint8_t { page_4k = 1, page_2m = 2, page_1g = 3, top_4 = 4, top_5 = 5 };

inline constexpr unsigned index_bits = 9;
inline constexpr std::uint64_t entries_per_node = std::uint64_t{1} << index_bits;

/// 4 KiB pages that one entry at `level` spans.
[[nodiscard]] constexpr std::uint64_t pages_spanned(Level level) {
    return std::uint64_t{1} << (index_bits * (static_cast<unsigned>(level) - 1));
}

[[nodiscard]] constexpr Level below(Level level) { return static_cast<Level>(static_cast<unsigned>(level) - 1); }

static_assert(pages_spanned(Level::page_4k) == 1);
static_assert(pages_spanned(Level::page_2m) * page_bytes == 2ULL << 20);
static_assert(pages_spanned(Level::page_1g) * page_bytes == 1ULL << 30);

}  // namespace penumbra
