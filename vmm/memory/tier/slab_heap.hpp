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
    /// Takes a slot back. A slab that empties goes back to the kernel at once, lone idle pages when they add up.
    void release(SlotRef ref);

    [[nodiscard]] std::uint64_t resident_bytes() const { return resident_pages_ * page_bytes; }
    [[nodiscard]] std::uint64_t slots_taken() const { return slots_taken_; }
    [[nodiscard]] std::uint32_t oldest_slab() const { return by_age_.front(); }
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
    std::uint32_t trim_cursor_ = 0;
};

}  // namespace penumbra::vmm
