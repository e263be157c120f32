// The accelerator's own page-table entries: bits only. One valid bit, write permission, large, a 40-bit frame and two
// marks.
#pragma once

#include <cstdint>

#include "base/address.hpp"
#include "base/page_size.hpp"
#include "shadow-mmu/format/entry_state.hpp"

namespace penumbra::mmu {

struct DeviceFormat {
    static constexpr Level top_level = Level::top_4;

    static constexpr std::uint64_t valid = 1ULL << 0;
    static constexpr std::uint64_t write = 1ULL << 1;
    static constexpr std::uint64_t large = 1ULL << 2;
    static constexpr std::uint64_t frame_mask = 0x000F'FFFF'FFFF'F000;
    static constexpr std::uint64_t busy_mark = 1ULL << 62;
    static constexpr std::uint64_t frozen_mark = 1ULL << 63;

    [[nodiscard]] static constexpr std::uint64_t leaf(Hvp frame, Permission permission, Level level) {
        return (frame.value() << page_shift) | valid | (permission == Permission::read_write ? write : 0) |
               (level == Level::page_4k ? 0 : large);
    }
    [[nodiscard]] static constexpr std::uint64_t table(Hvp node) { return (node.value() << page_shift) | valid; }
    [[nodiscard]] static constexpr std::uint64_t busy() { return busy_mark; }
    [[nodiscard]] static constexpr std::uint64_t frozen(std::uint64_t present) {
        return (present & ~valid) | frozen_mark;
    }
    [[nodiscard]] static constexpr std::uint64_t thawed(std::uint64_t frozen_entry) {
        return (frozen_entry & ~frozen_mark) | valid;
    }
    [[nodiscard]] static constexpr Hvp frame(std::uint64_t entry) { return Hvp{(entry & frame_mask) >> page_shift}; }

    [[nodiscard]] static constexpr EntryState state(std::uint64_t entry, Level level) {
        if (entry == 0) return EntryState::empty;
        if ((entry & busy_mark) != 0) return EntryState::busy;
        if ((entry & frozen_mark) != 0) return EntryState::frozen;
        return level == Level::page_4k || (entry & large) != 0 ? EntryState::present : EntryState::table;
    }
};

static_assert(((DeviceFormat::busy_mark | DeviceFormat::frozen_mark) & DeviceFormat::frame_mask) == 0);
static_assert(DeviceFormat::thawed(DeviceFormat::frozen(DeviceFormat::leaf(Hvp{7}, Permission::read_write,
                                                                           Level::page_4k))) ==
              DeviceFormat::leaf(Hvp{7}, Permission::read_write, Level::page_4k));

}  // namespace penumbra::mmu
