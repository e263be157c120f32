// Which pages were written: a bitmap over the memslots, and a bounded ring of page numbers (KVM: dirty_bitmap,
// virt/kvm/dirty_ring.c).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "shadow-mmu/table/memslots.hpp"

namespace penumbra::mmu {

/// Many threads push, one drains. Full, or with anything lost, it says `everything`: no write goes unreported.
class DirtyRing {
public:
    enum class Drained : std::uint8_t {
        listed,      ///< what was pushed is what is dirty
        everything,  ///< the ring overflowed: all pages may be dirty
    };
    /// `entries` > 0.
    explicit DirtyRing(std::size_t entries);

    void push(Gfn gfn);
    /// Appends what was pushed to `taken`. With `everything` nothing is appended, and the ring is usable again. Pages
    /// pushed during the call come now or next time.
    [[nodiscard]] Drained drain(std::vector<Gfn>& taken);

private:
    std::vector<std::atomic<std::uint64_t>> entries_;  // frame + 1; 0: not written yet
    std::atomic<std::uint64_t> head_{0};               // the drainer's
    alignas(64) std::atomic<std::uint64_t> tail_{0};   // next to push
    std::atomic<bool> overflowed_{false};
};

/// Thread-safe. One bit per page. Frames outside the memslots are passed over.
class DirtyBitmap {
public:
    /// `ring`, if any, is told of each page that becomes dirty, once until the mark is taken; it outlives the bitmap.
    explicit DirtyBitmap(const Memslots& memslots, DirtyRing* ring = nullptr);

    /// `pages` from `gfn`, down to a multiple of `pages`: a large leaf is dirty as a whole.
    void mark(Gfn gfn, std::uint64_t pages = 1);
    [[nodiscard]] bool test(Gfn gfn) const;
    /// Takes the marks of the range out, appending their frames to `taken` in order.
    void take(GfnRange range, std::vector<Gfn>& taken);

private:
    using Word = std::atomic<std::uint64_t>;
    static constexpr unsigned word_bits = 64;
    struct Slot {
        GfnRange guest;
        std::unique_ptr<Word[]> words;
    };
    std::vector<Slot> slots_;
    DirtyRing* const ring_;
};

}  // namespace penumbra::mmu
