// How full a table is, by 2 MiB and 1 GiB of guest memory, and how long each is left alone before somebody tries to
// give it one large leaf. Hints: a collapse looks at the entries themselves.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/page_size.hpp"
#include "shadow-mmu/table/memslots.hpp"

namespace penumbra::mmu {

/// Thread-safe. 8 bytes per 2 MiB and per 1 GiB. `level` is 2 MiB or 1 GiB throughout. Frames outside the slots count
/// for nothing, and are never full.
class LeafRegions {
public:
    explicit LeafRegions(const Memslots& memslots);

    /// Pages became present, or ceased to be. `pages` is what one leaf spans.
    void add(Gfn gfn, std::uint64_t pages = 1);
    void remove(Gfn gfn, std::uint64_t pages = 1);
    /// All pages are present. Right as soon as those who change the region are done.
    [[nodiscard]] bool full(Gfn gfn, Level level) const;

    /// The next `misses` calls of ripe() say no.
    void hesitate(Gfn gfn, Level level, std::uint32_t misses);
    /// A miss found a leaf smaller than `level`: whether a larger one is worth a try by now. By one thread.
    [[nodiscard]] bool ripe(Gfn gfn, Level level);

private:
    static constexpr std::array<Level, 2> sizes{Level::page_2m, Level::page_1g};
    struct Region {
        std::atomic<std::uint32_t> filled{0};  // of 512: pages of 2 MiB, full 2 MiB of 1 GiB
        std::atomic<std::uint32_t> patience{0};
    };
    struct Slot {
        GfnRange guest;
        std::array<std::unique_ptr<Region[]>, 2> regions;  // by size, from the one of guest.first() on
    };
    [[nodiscard]] Region* find(Gfn gfn, Level level) const;
    /// Changes both counts: `by` pages of one 2 MiB.
    void change(Gfn gfn, std::uint32_t by);

    std::vector<Slot> slots_;
};

}  // namespace penumbra::mmu
