// Extended page table entries (SDM volume 3, 29.3.2): bits only. A leaf names a host virtual page of the VMM where
// hardware would name a physical frame; KVM's own tables below hold that.
#pragma once

#include "shadow-mmu/format/basic_format.hpp"

namespace penumbra::mmu {

struct EptBits {
    static constexpr std::uint64_t read = 1ULL << 0;
    static constexpr std::uint64_t write = 1ULL << 1;
    static constexpr std::uint64_t execute = 1ULL << 2;
    static constexpr std::uint64_t write_back = 6ULL << 3;  ///< memory type, bits 5:3
    static constexpr std::uint64_t large = 1ULL << 7;
    static constexpr std::uint64_t accessed = 1ULL << 8;
    static constexpr std::uint64_t dirty = 1ULL << 9;
    static constexpr std::uint64_t frame_mask = 0x000F'FFFF'FFFF'F000;
    // Bit 11 and bits 52 to 59 are ignored by the walk (SDM table 29-7). An entry without read, write and execute is
    // not present, whatever else it holds.
    static constexpr std::uint64_t live = 1ULL << 11;
    static constexpr unsigned kind_shift = 52;
    static constexpr unsigned saved_shift = 54;  ///< read, write, execute at 54 to 56
    static constexpr std::uint64_t host_writable = 1ULL << 57;
    static constexpr std::uint64_t mmu_writable = 1ULL << 58;
    static constexpr std::uint64_t tracked = 1ULL << 59;

    static constexpr std::uint64_t walk = read | write | execute;
    static constexpr std::uint64_t rights_mask = write | execute;
    static constexpr std::uint64_t small_leaf = read | write_back;
    static constexpr std::uint64_t small_leaf_walk = walk;
    static constexpr std::uint64_t table_bits = walk;
    static constexpr std::uint64_t table_accessed = accessed;
    static constexpr std::uint64_t large_pat = 0;

    /// EPT has no user bit without mode-based execute control.
    [[nodiscard]] static constexpr std::uint64_t encode(Rights rights) {
        return (rights.has(Right::write) ? write : 0) | (rights.has(Right::execute) ? execute : 0);
    }
    [[nodiscard]] static constexpr Rights decode(std::uint64_t entry) {
        Rights rights{Right::user};
        if ((entry & write) != 0) rights = rights | Right::write;
        if ((entry & execute) != 0) rights = rights | Right::execute;
        return rights;
    }
    [[nodiscard]] static constexpr std::uint64_t to_small(std::uint64_t entry) { return entry & ~large; }
    [[nodiscard]] static constexpr std::uint64_t to_large(std::uint64_t entry) { return entry | large; }
};

template <Level Top, AccessedDirty Ad>
using EptFormatOf = BasicFormat<EptBits, Top, Ad>;

/// The vCPUs' table.
using EptFormat = EptFormatOf<Level::top_4, AccessedDirty::emulated>;

static_assert(bits_are_apart<EptFormat>() && keeps_translations<EptFormat>());
static_assert(keeps_translations<EptFormatOf<Level::top_5, AccessedDirty::hardware>>());
static_assert((EptFormat::frozen(EptFormat::leaf(Hvp{5}, Permission::read_write, Level::page_4k)) & EptFormat::walk) ==
              0);
static_assert((EptFormat::aged(EptFormat::leaf(Hvp{5}, Permission::read_write, Level::page_4k)) & EptFormat::walk) ==
              0);

}  // namespace penumbra::mmu
