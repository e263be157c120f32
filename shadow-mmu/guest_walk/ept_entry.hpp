// Bits of an EPT entry as a walk reads them, and the rules of one entry (SDM volume 3, tables 29-1 to 29-7, 29.3.3.1).
#pragma once

#include <cstdint>

#include "shadow-mmu/guest_walk/ept_walk.hpp"
#include "shadow-mmu/guest_walk/guest_entry.hpp"
#include "shadow-mmu/guest_walk/walk_bugs.hpp"

namespace penumbra::mmu::ept_entry {

using guest_entry::bits;

inline constexpr std::uint64_t read = 1ULL << 0;
inline constexpr std::uint64_t write = 1ULL << 1;
inline constexpr std::uint64_t execute = 1ULL << 2;  ///< by supervisor, with mode-based execute control
inline constexpr unsigned memory_type_shift = 3;
inline constexpr std::uint64_t ignore_pat = 1ULL << 6;
inline constexpr std::uint64_t large = 1ULL << 7;
inline constexpr std::uint64_t accessed = 1ULL << 8;
inline constexpr std::uint64_t dirty = 1ULL << 9;
inline constexpr std::uint64_t user_execute = 1ULL << 10;  ///< with mode-based execute control
inline constexpr std::uint64_t address = bits(12, 51);

[[nodiscard]] constexpr bool is_present(const EptMode& mode, std::uint64_t raw) {
    return (raw & (read | write | execute | (mode.mode_based_execute ? user_execute : 0))) != 0;
}
[[nodiscard]] constexpr bool is_leaf(Level level, std::uint64_t raw) {
    return level == Level::page_4k || (level <= Level::page_1g && (raw & large) != 0);
}
[[nodiscard]] constexpr std::uint8_t memory_type(std::uint64_t raw) {
    return static_cast<std::uint8_t>(raw >> memory_type_shift & 7);
}

[[nodiscard]] inline std::uint64_t reserved_bits(const EptMode& mode, Level level, std::uint64_t raw) {
    const std::uint64_t beyond = bits(mode.physical_bits, 51);
    if (level >= Level::top_4) return beyond | (walk_bug(WalkBug::ept_upper_reserved_ignored) ? 0 : bits(3, 7));
    if (!is_leaf(level, raw)) return beyond | (walk_bug(WalkBug::ept_upper_reserved_ignored) ? 0 : bits(3, 6));
    if (level == Level::page_4k) return beyond;
    const bool supported = level == Level::page_2m ? mode.pages_2m : mode.pages_1g;
    if (!supported) return beyond | large;
    const unsigned first = walk_bug(WalkBug::ept_large_low_bits) ? 13 : 12;
    return beyond | bits(first, level == Level::page_2m ? 20 : 29);
}

/// Of a present entry (29.3.3.1).
[[nodiscard]] inline bool is_misconfigured(const EptMode& mode, Level level, std::uint64_t raw) {
    if ((raw & reserved_bits(mode, level, raw)) != 0) return true;
    const bool readable = (raw & read) != 0;
    if (!readable && (raw & write) != 0 && !walk_bug(WalkBug::ept_write_only_allowed)) return true;
    const std::uint64_t executes = raw & (execute | (mode.mode_based_execute ? user_execute : 0));
    const bool execute_only = mode.execute_only || walk_bug(WalkBug::ept_execute_only_allowed);
    if (!readable && executes != 0 && !execute_only) return true;
    if (!is_leaf(level, raw) || walk_bug(WalkBug::ept_memory_type_ignored)) return false;
    const unsigned type = memory_type(raw);
    return type == 2 || type == 3 || type == 7;
}

}  // namespace penumbra::mmu::ept_entry
