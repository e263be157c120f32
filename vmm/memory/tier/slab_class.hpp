// The sizes a blob pool's slabs are cut into. A 64 KiB slab holds 15 (a raw page each) to 256 equal slots; neighbouring
// classes differ by about 3 to 7 %, so a blob of 500 to 3500 bytes wastes under 4 % on average, its slot's tail
// included. Slabs of still smaller slots end earlier, after whole pages.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "base/address.hpp"

namespace penumbra::vmm {

inline constexpr std::size_t slab_bytes = 64 * 1024;
inline constexpr unsigned slab_pages = slab_bytes / page_bytes;
inline constexpr unsigned slot_index_bits = 8;
inline constexpr unsigned max_slots = 1U << slot_index_bits;
inline constexpr std::size_t blob_header_bytes = 16;
inline constexpr std::size_t largest_blob_and_header = page_bytes + blob_header_bytes;
/// A header and 8 bytes: pages that are duplicates or all alike.
inline constexpr std::size_t record_bytes = blob_header_bytes + 8;

struct SlabClass {
    std::uint16_t slots = 0;
    std::uint16_t slot_bytes = 0;
};

namespace detail {

inline constexpr std::array<SlabClass, 6> small_slab_classes{
    {{256, 192}, {256, 144}, {256, 112}, {256, 80}, {256, 48}, {page_bytes / record_bytes, record_bytes}}};

[[nodiscard]] constexpr unsigned next_slot_count(unsigned slots) { return slots + (slots < 64 ? 1 : slots * 3 / 100); }

[[nodiscard]] constexpr std::size_t count_slab_classes() {
    std::size_t count = small_slab_classes.size();
    for (unsigned slots = 15; slots <= max_slots; slots = next_slot_count(slots)) ++count;
    return count;
}

}  // namespace detail

inline constexpr std::size_t slab_class_count = detail::count_slab_classes();
static_assert(slab_class_count < 128);

/// Largest slot first.
inline constexpr auto slab_classes = [] {
    std::array<SlabClass, slab_class_count> classes{};
    std::size_t at = 0;
    for (unsigned slots = 15; slots <= max_slots; slots = detail::next_slot_count(slots)) {
        const auto bytes = static_cast<std::uint16_t>(std::min(slab_bytes / slots / 8 * 8, largest_blob_and_header));
        classes[at++] = {static_cast<std::uint16_t>(slots), bytes};
    }
    for (const SlabClass& small : detail::small_slab_classes) classes[at++] = small;
    return classes;
}();

inline constexpr std::size_t largest_slot_bytes = slab_classes.front().slot_bytes;

namespace detail {

inline constexpr auto class_by_granule = [] {
    std::array<std::uint8_t, largest_slot_bytes / 8 + 1> table{};
    for (std::size_t granules = 0; granules < table.size(); ++granules) {
        std::size_t best = 0;
        while (best + 1 < slab_class_count && slab_classes[best + 1].slot_bytes >= granules * 8) ++best;
        table[granules] = static_cast<std::uint8_t>(best);
    }
    return table;
}();

}  // namespace detail

/// The class with the smallest slot that holds `bytes`, which is at most largest_slot_bytes.
[[nodiscard]] constexpr std::uint8_t slab_class_for(std::size_t bytes) {
    return detail::class_by_granule[(bytes + 7) / 8];
}

/// What a blob may leave of its slot, at most.
inline constexpr std::size_t most_slack = [] {
    std::size_t most = slab_classes.back().slot_bytes - blob_header_bytes - 1;
    for (std::size_t i = 1; i < slab_class_count; ++i) {
        const std::size_t next_smaller = slab_classes[i].slot_bytes;
        most = std::max(most, slab_classes[i - 1].slot_bytes - next_smaller - 1);
    }
    return most;
}();

static_assert(slab_classes[slab_class_for(largest_blob_and_header)].slots == 15);
static_assert(slab_classes[slab_class_for(250)].slots >= 250);
static_assert(slab_classes[slab_class_for(record_bytes)].slot_bytes == record_bytes);

}  // namespace penumbra::vmm
