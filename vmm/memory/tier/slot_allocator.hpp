// Hands out runs of free slots of a swap file: a bitmap searched onwards from the last run. Not thread-safe.
#pragma once

#include <cstdint>
#include <vector>

namespace penumbra::vmm {

struct SlotRun {
    std::uint64_t first = 0;
    std::uint64_t slots = 0;  ///< 0: none free
};

class SlotAllocator {
public:
    /// Adds free slots at the end; a multiple of 64, or the last growth.
    void grow(std::uint64_t slots);
    /// A run of 1 to `wanted` slots: the first of full length within a bounded search, or else the longest seen in it.
    [[nodiscard]] SlotRun take(std::uint64_t wanted);
    void give_back(std::uint64_t slot);

    [[nodiscard]] std::uint64_t slots() const { return slots_; }
    [[nodiscard]] std::uint64_t free_slots() const { return free_; }
    [[nodiscard]] std::uint64_t bookkeeping_bytes() const { return taken_.capacity() * sizeof(std::uint64_t); }

private:
    [[nodiscard]] bool is_taken(std::uint64_t slot) const { return (taken_[slot / 64] >> (slot % 64) & 1) != 0; }
    [[nodiscard]] std::uint64_t next_free(std::uint64_t from) const;
    [[nodiscard]] SlotRun run_at(std::uint64_t first, std::uint64_t wanted) const;

    std::vector<std::uint64_t> taken_;
    std::uint64_t slots_ = 0;
    std::uint64_t free_ = 0;
    std::uint64_t cursor_ = 0;
};

}  // namespace penumbra::vmm
