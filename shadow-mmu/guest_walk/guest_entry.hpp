// Bits of a 4- or 5-level paging entry (SDM volume 3, tables 4-14 to 4-20).
#pragma once

#include <cstdint>

namespace penumbra::mmu::guest_entry {

inline constexpr std::uint64_t present = 1ULL << 0;
inline constexpr std::uint64_t writable = 1ULL << 1;
inline constexpr std::uint64_t user = 1ULL << 2;
inline constexpr std::uint64_t write_through = 1ULL << 3;
inline constexpr std::uint64_t cache_disable = 1ULL << 4;
inline constexpr std::uint64_t accessed = 1ULL << 5;
inline constexpr std::uint64_t dirty = 1ULL << 6;      ///< leaf
inline constexpr std::uint64_t page_size = 1ULL << 7;  ///< above level 1: this is a leaf
inline constexpr std::uint64_t pat_4k = 1ULL << 7;     ///< at level 1
inline constexpr std::uint64_t global = 1ULL << 8;     ///< leaf
inline constexpr std::uint64_t pat_large = 1ULL << 12;
inline constexpr std::uint64_t no_execute = 1ULL << 63;
inline constexpr unsigned key_shift = 59;  ///< leaf: four bits

/// Bits `low` to `high`, both included; none where low > high.
[[nodiscard]] constexpr std::uint64_t bits(unsigned low, unsigned high) {
    return low > high ? 0 : (~std::uint64_t{0} >> (63 - high)) & (~std::uint64_t{0} << low);
}
inline constexpr std::uint64_t address = bits(12, 51);

static_assert(bits(52, 51) == 0 && bits(0, 63) == ~std::uint64_t{0} && bits(13, 20) == 0x1F'E000);

}  // namespace penumbra::mmu::guest_entry
