// The sizes a blob pool's slabs are cut into. A 64 KiB slab holds 15 (a raw page each) to 256 equal slots; neighbouring
// classes differ by about 3 to 7 %, so a blob of 500 to 3500 bytes wastes under 4 % on average, its slot's tail
// included.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/address.hpp"

namespace penumbra::vmm {

inline constexpr std::size_t slab_bytes = 64 * 1024;
inline constexpr unsigned slab_pages = slab_bytes / page_bytes;
inline constexpr unsigned slot_index_bits = 8;
inline constexpr unsigned max_slots = 1U << slot_index_bits;

struct SlabClass {
    std::uint16_t slots = 0;
    std::uint16_t slot_bytes = 0;
};

namespace detail {

[[nodiscard]] constexpr unsigned next_slot_count(unsigned slots) { return slots + (slots < 64 ? 1 : slots * 3 / 100); }

[[nodiscard]] constexpr std::size_t count_slab_classes() {
    std::size_t count = 0;
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
        const auto bytes = static_cast<std::uint16_t>(slab_bytes / slots / 8 * 8);
        classes[at++] = {static_cast<std::uint16_t>(slots), bytes};
    }
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

static_assert(slab_classes[slab_class_for(4096 + 16)].slots == 15);
static_assert(slab_classes[slab_class_for(100)].slots >= 250);

}  // namespace penumbra::vmm
