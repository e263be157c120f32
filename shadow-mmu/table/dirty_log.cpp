#include "shadow-mmu/table/dirty_log.hpp"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/assert.hpp"
#include "base/planted.hpp"

namespace penumbra::mmu {

DirtyBitmap::DirtyBitmap(const Memslots& memslots, DirtyRing* ring) : ring_(ring) {
    for (const Memslot& slot : memslots.slots()) {
        slots_.push_back({slot.guest, std::make_unique<Word[]>((slot.guest.pages() + word_bits - 1) / word_bits)});
    }
}

void DirtyBitmap::mark(Gfn gfn, std::uint64_t pages) {
    if (planted(Plant::mark_many)) pages = std::max<std::uint64_t>(pages, 64);
    const GfnRange range{Gfn{gfn.value() / pages * pages}, pages};
    for (const Slot& slot : slots_) {
        if (!slot.guest.overlaps(range)) continue;
        const Gfn end = std::min(range.end(), slot.guest.end());
        for (Gfn at = std::max(range.first(), slot.guest.first()); at < end; ++at) {
            const std::uint64_t bit = at - slot.guest.first();
            const std::uint64_t mask = std::uint64_t{1} << (bit % word_bits);
            Word& word = slot.words[bit / word_bits];
            // A mark that is there already need not take the line; the harvest's exchange orders the rest.
            const bool again = planted(Plant::ring_lists_again);
            if ((word.load(std::memory_order_seq_cst) & mask) != 0 && !again) continue;
            const bool first = (word.fetch_or(mask, std::memory_order_seq_cst) & mask) == 0 || again;
            if (first && ring_ != nullptr) ring_->push(at);
        }
    }
}

bool DirtyBitmap::test(Gfn gfn) const {
    for (const Slot& slot : slots_) {
        if (!slot.guest.contains(gfn)) continue;
        const std::uint64_t bit = gfn - slot.guest.first();
        return ((slot.words[bit / word_bits].load(std::memory_order_acquire) >> (bit % word_bits)) & 1) != 0;
    }
    return false;
}

void DirtyBitmap::take(GfnRange range, std::vector<Gfn>& taken) {
    for (const Slot& slot : slots_) {
        if (!slot.guest.overlaps(range)) continue;
        const std::uint64_t first = std::max(range.first(), slot.guest.first()) - slot.guest.first();
        const std::uint64_t end = std::min(range.end(), slot.guest.end()) - slot.guest.first();
        for (std::uint64_t at = first; at < end;) {
            const std::uint64_t low = at % word_bits;
            const std::uint64_t count = std::min(word_bits - low, end - at);
            const std::uint64_t mask = (count == word_bits ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1)
                                       << low;
            Word& word = slot.words[at / word_bits];
            std::uint64_t bits = word.load(std::memory_order_seq_cst) & mask;
            if (bits != 0) bits = word.fetch_and(~mask, std::memory_order_seq_cst) & mask;
            for (; bits != 0; bits &= bits - 1) {
                taken.push_back(slot.guest.first() + (at - low + static_cast<std::uint64_t>(std::countr_zero(bits))));
            }
            at += count;
        }
    }
}

DirtyRing::DirtyRing(std::size_t entries) : entries_(entries) { PENUMBRA_ASSERT(entries > 0, "a ring for nothing"); }

void DirtyRing::push(Gfn gfn) {
    std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    do {
        if (tail - head_.load(std::memory_order_acquire) >= entries_.size()) {
            overflowed_.store(!planted(Plant::ring_forgets_overflow), std::memory_order_release);
            return;
        }
    } while (!tail_.compare_exchange_weak(tail, tail + 1, std::memory_order_acq_rel));
    entries_[tail % entries_.size()].store(gfn.value() + 1, std::memory_order_release);
}

DirtyRing::Drained DirtyRing::drain(std::vector<Gfn>& taken) {
    const bool lost = overflowed_.exchange(false, std::memory_order_acq_rel);
    const std::size_t before = taken.size();
    std::uint64_t head = head_.load(std::memory_order_relaxed);
    for (std::size_t i = 0; i < entries_.size(); ++i) {
        std::atomic<std::uint64_t>& entry = entries_[head % entries_.size()];
        const std::uint64_t value = entry.load(std::memory_order_acquire);
        if (value == 0) break;  // nothing more, or a push that is not finished: next time
        taken.push_back(Gfn{value - 1});
        entry.store(0, std::memory_order_relaxed);
        head_.store(++head, std::memory_order_release);
    }
    if (!lost) return Drained::listed;
    taken.resize(before);
    return Drained::everything;
}

}  // namespace penumbra::mmu
