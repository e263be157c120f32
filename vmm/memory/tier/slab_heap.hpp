// Gives out and takes back the slots of a blob pool, fullest slab first, and keeps count of the memory the kernel
// charges. Not thread-safe: BlobPool holds its lock around every call.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "base/mapped_region.hpp"
#include "vmm/memory/tier/slab_table.hpp"

namespace penumbra::vmm {

class SlabHeap {
public:
    /// `memory` holds table.capacity() slabs; both outlive the heap.
    SlabHeap(SlabTable& table, MappedRegion& memory) : table_(table), memory_(memory) {}

    /// A slot of at least `bytes`; none when that would charge more than `limit_bytes` or the slabs are used up.
    [[nodiscard]] std::optional<SlotRef> take(std::size_t bytes, std::uint64_t limit_bytes);
    /// As take(), for a blob of the slab `beside`, but in another slab of its class that is in use; none when those are
    /// full.
    [[nodiscard]] std::optional<SlotRef> take_beside(std::uint32_t beside, std::uint64_t limit_bytes);
    /// As take(), for the blob at `above`, but in a lower slot of its slab; none when there is no free one.
    [[nodiscard]] std::optional<SlotRef> take_below(SlotRef above, std::uint64_t limit_bytes);
    /// A slab whose blobs the other slabs of its class have room for, or that lie on more pages than they need; the
    /// emptier first, each class in turn.
    [[nodiscard]] std::optional<std::uint32_t> next_sparse();
    /// Takes a slot back. A slab that empties goes back to the kernel at once, lone idle pages when they add up.
    void release(SlotRef ref);

    [[nodiscard]] std::uint64_t resident_bytes() const { return resident_pages_ * page_bytes; }
    [[nodiscard]] std::uint64_t slots_taken() const { return slots_taken_; }
    /// All the slots taken, in bytes: what they cost were there no holes between them.
    [[nodiscard]] std::uint64_t taken_bytes() const { return taken_bytes_; }
    [[nodiscard]] std::uint32_t oldest_slab() const { return by_age_.front(); }
    /// Gives the kernel back what pages of a slab no slot in use lies on.
    void give_back_idle(std::uint32_t slab) { (void)trim_slab(slab); }
    /// Puts a slab at the young end of the age order.
    void rejuvenate(std::uint32_t slab);

private:
    static constexpr unsigned buckets = 4;  // partly filled slabs by quarter; full and empty ones are in none
    static constexpr std::uint8_t no_bucket = buckets;
    struct PageSpan {
        unsigned first;
        unsigned last;
    };

    [[nodiscard]] static PageSpan pages_of(const SlabClass& shape, unsigned slot);
    [[nodiscard]] static unsigned untouched(const Slab& slab, PageSpan span);
    [[nodiscard]] static bool page_is_idle(const Slab& slab, unsigned page);
    [[nodiscard]] std::uint32_t fullest_partial(std::uint8_t slab_class) const;
    [[nodiscard]] std::optional<SlotRef> take_in(std::uint32_t index, std::uint64_t limit_bytes);
    [[nodiscard]] std::uint32_t open_slab(std::uint8_t slab_class);
    void close_slab(std::uint32_t index);
    void place_by_fullness(std::uint32_t index);
    void trim_if_worthwhile();
    void trim(unsigned slabs, unsigned discards);
    [[nodiscard]] unsigned trim_slab(std::uint32_t index);

    SlabTable& table_;
    MappedRegion& memory_;
    std::array<std::array<SlabList<&Slab::by_fullness>, buckets>, slab_class_count> partial_;
    SlabList<&Slab::by_fullness> free_;
    SlabList<&Slab::by_age> by_age_;
    std::uint64_t resident_pages_ = 0;
    std::uint64_t idle_pages_ = 0;  // charged, yet no slot on them is taken
    std::uint64_t slots_taken_ = 0;
    std::uint64_t taken_bytes_ = 0;
    std::array<std::uint64_t, slab_class_count> free_slots_{};  // of the slabs in use
    std::uint8_t sparse_class_ = 0;                             // where next_sparse() goes on
    std::uint32_t trim_cursor_ = 0;
};

}  // namespace penumbra::vmm
