// Entries of x86-64 paging (SDM volume 3, 4.5), for shadow tables: bits only. Protection keys (bits 62:59) stay free
// for the guest's; bits 9 to 11 and 52 to 58 are ignored by the walk, and all but bit 0 of an entry that is not
// present.
#pragma once

#include "shadow-mmu/format/basic_format.hpp"

namespace penumbra::mmu {

struct X86Bits {
    static constexpr std::uint64_t valid = 1ULL << 0;
    static constexpr std::uint64_t write = 1ULL << 1;
    static constexpr std::uint64_t user = 1ULL << 2;
    static constexpr std::uint64_t write_through = 1ULL << 3;
    static constexpr std::uint64_t cache_disable = 1ULL << 4;
    static constexpr std::uint64_t accessed = 1ULL << 5;
    static constexpr std::uint64_t dirty = 1ULL << 6;
    static constexpr std::uint64_t large = 1ULL << 7;      ///< PS, of entries above the lowest level
    static constexpr std::uint64_t small_pat = 1ULL << 7;  ///< PAT, of 4 KiB leaves
    static constexpr std::uint64_t large_pat = 1ULL << 12;
    static constexpr std::uint64_t frame_mask = 0x000F'FFFF'FFFF'F000;
    static constexpr std::uint64_t protection_key = 15ULL << 59;
    static constexpr std::uint64_t no_execute = 1ULL << 63;
    static constexpr std::uint64_t live = 1ULL << 11;
    static constexpr unsigned kind_shift = 52;
    static constexpr unsigned saved_shift = 54;  ///< valid, at 54
    static constexpr std::uint64_t host_writable = 1ULL << 9;
    static constexpr std::uint64_t mmu_writable = 1ULL << 10;
    static constexpr std::uint64_t tracked = 1ULL << 55;

    static constexpr std::uint64_t walk = valid;
    static constexpr std::uint64_t rights_mask = write | user | no_execute;
    static constexpr std::uint64_t small_leaf = valid;
    static constexpr std::uint64_t small_leaf_walk = valid;
    static constexpr std::uint64_t table_bits = valid | write | user;
    static constexpr std::uint64_t table_accessed = accessed;

    [[nodiscard]] static constexpr std::uint64_t encode(Rights rights) {
        return (rights.has(Right::write) ? write : 0) | (rights.has(Right::user) ? user : 0) |
               (rights.has(Right::execute) ? 0 : no_execute);
    }
    [[nodiscard]] static constexpr Rights decode(std::uint64_t entry) {
        Rights rights;
        if ((entry & write) != 0) rights = rights | Right::write;
        if ((entry & user) != 0) rights = rights | Right::user;
        if ((entry & no_execute) == 0) rights = rights | Right::execute;
        return rights;
    }
    /// The PAT bit stands elsewhere in a 4 KiB leaf, where PS would be.
    [[nodiscard]] static constexpr std::uint64_t to_small(std::uint64_t entry) {
        return (entry & ~(large | large_pat)) | ((entry & large_pat) != 0 ? small_pat : 0);
    }
    [[nodiscard]] static constexpr std::uint64_t to_large(std::uint64_t entry) {
        return (entry & ~small_pat) | large | ((entry & small_pat) != 0 ? large_pat : 0);
    }
    /// Index into the PAT (SDM volume 3, 4.9.2): the memory type of a leaf.
    [[nodiscard]] static constexpr unsigned pat_index(std::uint64_t leaf, Level level) {
        const std::uint64_t pat = level == Level::page_4k ? small_pat : large_pat;
        return ((leaf & write_through) != 0 ? 1U : 0U) | ((leaf & cache_disable) != 0 ? 2U : 0U) |
               ((leaf & pat) != 0 ? 4U : 0U);
    }
    [[nodiscard]] static constexpr std::uint64_t with_pat_index(std::uint64_t leaf, unsigned index, Level level) {
        const std::uint64_t pat = level == Level::page_4k ? small_pat : large_pat;
        leaf &= ~(write_through | cache_disable | pat);
        return leaf | ((index & 1U) != 0 ? write_through : 0) | ((index & 2U) != 0 ? cache_disable : 0) |
               ((index & 4U) != 0 ? pat : 0);
    }
};

template <Level Top, AccessedDirty Ad>
using X86FormatOf = BasicFormat<X86Bits, Top, Ad>;

/// A shadow table's: the emulated accelerator walks it, and sets no bits.
using X86Format = X86FormatOf<Level::top_4, AccessedDirty::emulated>;

static_assert(bits_are_apart<X86Format>() && keeps_translations<X86Format>());
static_assert(keeps_translations<X86FormatOf<Level::top_5, AccessedDirty::hardware>>());
static_assert((X86Format::frozen(X86Format::leaf(Hvp{5}, Permission::read_write, Level::page_4k)) & X86Format::valid) ==
              0);
static_assert(((X86Format::kind_mask | X86Format::saved_mask | X86Format::tracked) & X86Format::protection_key) == 0);
static_assert(X86Format::pat_index(X86Format::child(X86Format::with_pat_index(
                                                        X86Format::leaf(Hvp{512}, Permission::read, Level::page_2m), 5,
                                                        Level::page_2m),
                                                    7, Level::page_2m),
                                   Level::page_4k) == 5);

}  // namespace penumbra::mmu
