#include "vmm/memory/tier/slot_allocator.hpp"

#include <algorithm>
#include <bit>

#include "base/assert.hpp"

namespace penumbra::vmm {

namespace {

constexpr unsigned runs_looked_at = 64;  // a shorter run is better than a longer search

}  // namespace

void SlotAllocator::grow(std::uint64_t slots) {
    PENUMBRA_ASSERT(slots_ % 64 == 0, "growth after the last");
    slots_ += slots;
    free_ += slots;
    taken_.resize((slots_ + 63) / 64, 0);
    if (slots_ % 64 != 0) taken_.back() = ~std::uint64_t{0} << (slots_ % 64);
}

std::uint64_t SlotAllocator::next_free(std::uint64_t from) const {
    for (std::uint64_t word = from / 64; word < taken_.size(); ++word) {
        const std::uint64_t before = word == from / 64 ? (std::uint64_t{1} << (from % 64)) - 1 : 0;
        const std::uint64_t taken = taken_[word] | before;
        if (taken != ~std::uint64_t{0}) return word * 64 + static_cast<std::uint64_t>(std::countr_one(taken));
    }
    return slots_;
}

SlotRun SlotAllocator::run_at(std::uint64_t first, std::uint64_t wanted) const {
    std::uint64_t end = first;
    while (end < slots_ && end - first < wanted && !is_taken(end)) ++end;
    return {first, end - first};
}

SlotRun SlotAllocator::take(std::uint64_t wanted) {
    SlotRun best;
    std::uint64_t at = cursor_;
    bool wrapped = false;
    for (unsigned looked = 0; free_ > 0 && looked < runs_looked_at && best.slots < wanted; ++looked) {
        at = next_free(at);
        if (at >= slots_) {
            if (wrapped) break;
            wrapped = true;
            at = 0;
            continue;
        }
        const SlotRun run = run_at(at, wanted);
        if (run.slots > best.slots) best = run;
        at += run.slots;
    }
    for (std::uint64_t slot = best.first; slot < best.first + best.slots; ++slot) {
        taken_[slot / 64] |= std::uint64_t{1} << (slot % 64);
    }
    free_ -= best.slots;
    if (best.slots > 0) cursor_ = best.first + best.slots;
    return best;
}

void SlotAllocator::give_back(std::uint64_t slot) {
    PENUMBRA_ASSERT(slot < slots_ && is_taken(slot), "a slot given back that was not taken");
    taken_[slot / 64] &= ~(std::uint64_t{1} << (slot % 64));
    ++free_;
}

}  // namespace penumbra::vmm
