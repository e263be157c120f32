// The accelerator's own page-table entries: bits only. One valid bit, write permission, large, accessed, dirty, a
// 40-bit frame and software's marks.
#pragma once

#include "shadow-mmu/format/basic_format.hpp"

namespace penumbra::mmu {

struct DeviceBits {
    static constexpr std::uint64_t valid = 1ULL << 0;
    static constexpr std::uint64_t write = 1ULL << 1;
    static constexpr std::uint64_t large = 1ULL << 2;
    static constexpr std::uint64_t accessed = 1ULL << 3;
    static constexpr std::uint64_t dirty = 1ULL << 4;
    static constexpr std::uint64_t frame_mask = 0x000F'FFFF'FFFF'F000;
    static constexpr std::uint64_t live = 1ULL << 5;
    static constexpr std::uint64_t host_writable = 1ULL << 6;
    static constexpr std::uint64_t mmu_writable = 1ULL << 7;
    static constexpr std::uint64_t tracked = 1ULL << 8;
    static constexpr unsigned saved_shift = 9;  ///< valid, at 9
    static constexpr unsigned kind_shift = 62;

    static constexpr std::uint64_t walk = valid;
    static constexpr std::uint64_t rights_mask = write;
    static constexpr std::uint64_t small_leaf = valid;
    static constexpr std::uint64_t small_leaf_walk = valid;
    static constexpr std::uint64_t table_bits = valid;
    static constexpr std::uint64_t table_accessed = 0;
    static constexpr std::uint64_t large_pat = 0;

    /// A device executes nothing and has no user mode.
    [[nodiscard]] static constexpr std::uint64_t encode(Rights rights) { return rights.has(Right::write) ? write : 0; }
    [[nodiscard]] static constexpr Rights decode(std::uint64_t entry) {
        const Rights read = Right::execute | Right::user;
        return (entry & write) != 0 ? read | Right::write : read;
    }
    [[nodiscard]] static constexpr std::uint64_t to_small(std::uint64_t entry) { return entry & ~large; }
    [[nodiscard]] static constexpr std::uint64_t to_large(std::uint64_t entry) { return entry | large; }
};

template <Level Top, AccessedDirty Ad>
using DeviceFormatOf = BasicFormat<DeviceBits, Top, Ad>;

using DeviceFormat = DeviceFormatOf<Level::top_4, AccessedDirty::emulated>;

static_assert(bits_are_apart<DeviceFormat>() && keeps_translations<DeviceFormat>());
static_assert(keeps_translations<DeviceFormatOf<Level::top_5, AccessedDirty::hardware>>());

}  // namespace penumbra::mmu
