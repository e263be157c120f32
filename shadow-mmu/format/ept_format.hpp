// Extended page table entries (SDM volume 3, 29.3.2): bits only. A leaf names a host virtual page of the VMM where
// hardware would name a physical frame; KVM's own tables below hold that.
#pragma once

#include <cstdint>

#include "base/address.hpp"
#include "base/page_size.hpp"
#include "shadow-mmu/format/entry_state.hpp"

namespace penumbra::mmu {

struct EptFormat {
    static constexpr Level top_level = Level::top_4;

    static constexpr std::uint64_t read = 1ULL << 0;
    static constexpr std::uint64_t write = 1ULL << 1;
    static constexpr std::uint64_t execute = 1ULL << 2;
    static constexpr std::uint64_t write_back = 6ULL << 3;  ///< memory type, bits 5:3
    static constexpr std::uint64_t large = 1ULL << 7;
    static constexpr std::uint64_t frame_mask = 0x000F'FFFF'FFFF'F000;
    // Bits 52 to 62 are ignored by the walk (SDM table 29-7); both marks exclude read, write and execute.
    static constexpr std::uint64_t busy_mark = 1ULL << 52;
    static constexpr std::uint64_t frozen_mark = 1ULL << 53;
    static constexpr std::uint64_t frozen_writable = 1ULL << 54;

    [[nodiscard]] static constexpr std::uint64_t leaf(Hvp frame, Permission permission, Level level) {
        return (frame.value() << page_shift) | read | execute | write_back |
               (permission == Permission::read_write ? write : 0) | (level == Level::page_4k ? 0 : large);
    }
    [[nodiscard]] static constexpr std::uint64_t table(Hvp node) {
        return (node.value() << page_shift) | read | write | execute;
    }
    [[nodiscard]] static constexpr std::uint64_t busy() { return busy_mark; }
    [[nodiscard]] static constexpr std::uint64_t frozen(std::uint64_t present) {
        return (present & (frame_mask | large | write_back)) | frozen_mark |
               ((present & write) != 0 ? frozen_writable : 0);
    }
    [[nodiscard]] static constexpr std::uint64_t thawed(std::uint64_t frozen_entry) {
        return (frozen_entry & (frame_mask | large | write_back)) | read | execute |
               ((frozen_entry & frozen_writable) != 0 ? write : 0);
    }
    [[nodiscard]] static constexpr Hvp frame(std::uint64_t entry) { return Hvp{(entry & frame_mask) >> page_shift}; }

    [[nodiscard]] static constexpr EntryState state(std::uint64_t entry, Level level) {
        if (entry == 0) return EntryState::empty;
        if ((entry & busy_mark) != 0) return EntryState::busy;
        if ((entry & frozen_mark) != 0) return EntryState::frozen;
        return level == Level::page_4k || (entry & large) != 0 ? EntryState::present : EntryState::table;
    }
};

static_assert((EptFormat::busy_mark & EptFormat::frame_mask) == 0 &&
              (EptFormat::frozen_mark & EptFormat::frame_mask) == 0);
static_assert(EptFormat::thawed(EptFormat::frozen(EptFormat::leaf(Hvp{5}, Permission::read_write, Level::page_4k))) ==
              EptFormat::leaf(Hvp{5}, Permission::read_write, Level::page_4k));
static_assert(EptFormat::thawed(EptFormat::frozen(EptFormat::leaf(Hvp{512}, Permission::read, Level::page_2m))) ==
              EptFormat::leaf(Hvp{512}, Permission::read, Level::page_2m));
static_assert((EptFormat::frozen(EptFormat::leaf(Hvp{5}, Permission::read_write, Level::page_4k)) &
               (EptFormat::read | EptFormat::write | EptFormat::execute)) == 0);

}  // namespace penumbra::mmu
