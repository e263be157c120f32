// Where large leaves may be: counters per 2 MiB and 1 GiB of guest memory that forbid them, and the shape of the
// memslots (KVM: lpage_info.disallow_lpage, kvm_mmu_hugepage_adjust).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/page_size.hpp"
#include "shadow-mmu/table/memslots.hpp"

namespace penumbra::mmu {

/// Thread-safe. 4 bytes per 2 MiB and per 1 GiB. Counts start at one where a slot covers a region in part, and
/// everywhere in a slot whose guest and host pages differ modulo the size: no large leaf could name the host page.
class LargePages {
public:
    explicit LargePages(const Memslots& memslots);

    /// No leaf over `gfn` larger than 4 KiB from now on, until allow(): somebody watches or logs this one page. Counts;
    /// at most 2^32 - 2 at once. Existing leaves are the caller's to split. Frames outside the slots: nothing.
    void disallow(Gfn gfn);
    void allow(Gfn gfn);
    /// Whether a leaf of that size may map `gfn`.
    [[nodiscard]] bool allowed(Gfn gfn, Level level) const;
    /// The largest size up to `wanted` that may.
    [[nodiscard]] Level largest(Gfn gfn, Level wanted = Level::page_1g) const;
    /// The count of one region, for tests and reports; 0 outside the slots.
    [[nodiscard]] std::uint32_t count(Gfn gfn, Level level) const;

private:
    using Count = std::atomic<std::uint32_t>;
    static constexpr std::array<Level, 2> sizes{Level::page_2m, Level::page_1g};

    struct Slot {
        GfnRange guest;
        std::array<std::unique_ptr<Count[]>, 2> counts;  // by size, from the region of guest.first() on
    };
    [[nodiscard]] Count* find(Gfn gfn, Level level) const;

    std::vector<Slot> slots_;
};

}  // namespace penumbra::mmu
