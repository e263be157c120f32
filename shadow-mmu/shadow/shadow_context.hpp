// A device's address space: a guest page table's root with its mode, and how changes of the tables become known.
#pragma once

#include <cstdint>
#include <vector>

#include "shadow-mmu/shadow/progress.hpp"
#include "shadow-mmu/shadow/shadow_page.hpp"

namespace penumbra::mmu {

/// How a context's table learns of changes that the guest makes.
enum class Tracking : std::uint8_t {
    watched,        ///< every guest table is watched: what the guest stored is what the device sees
    unsync_leaves,  ///< the lowest tables are not; their changes count from the guest's announcement on
    cooperative,    ///< none is
};

/// Whether the guest announces changes before it relies on them (ShadowTable::invalidate), from the first one on.
enum class Announces : std::uint8_t { no, yes };

struct ContextOptions {
    Gpa root;
    PagingMode mode;
    Announces announces = Announces::no;
    Tracking tracking = Tracking::watched;  ///< of contexts that announce; others are watched
};

/// The part of a context that a fault works by: it ends where `generation` has moved on.
struct ContextView {
    Gpa root;
    PagingMode mode;
    Tracking tracking = Tracking::watched;
    std::uint64_t generation = 0;

    [[nodiscard]] bool watches(Level level) const {
        if (tracking == Tracking::unsync_leaves) return level != Level::page_4k;
        return tracking == Tracking::watched;
    }
    [[nodiscard]] Role role_of(Level level, const GuestRights& above) const {
        return {.level = level,
                .access = above,
                .over_unsync = watches(level) && level != Level::page_4k && !watches(Level::page_4k),
                .unsync = !watches(level),
                .mode = role_mode_of(mode)};
    }
    [[nodiscard]] Role root_role() const { return role_of(mode.top, {}); }
};

struct CachedRoot {
    ContextView view;
    ShadowPage* page = nullptr;
};

/// Guarded by the table's lock, as the tree is.
struct ShadowContext {
    bool open = false;
    bool announces = false;
    bool too_many_writes = false;  ///< becomes cooperative at its next fault
    ContextView view;
    ShadowPage* root = nullptr;      ///< null until the first fault, and after its shadow was dropped
    std::vector<CachedRoot> cached;  ///< left longest ago first; their pages are never null
    PingPong ping_pong;
};

}  // namespace penumbra::mmu
