#include "shadow-mmu/flush/access_counts.hpp"

#include <utility>

#include "base/assert.hpp"
#include "base/planted.hpp"
#include "base/schedule_point.hpp"

namespace penumbra::mmu {

Result<AccessCounts> AccessCounts::create(std::uint64_t pages) {
    const std::uint64_t bytes = (pages * sizeof(Word) + page_bytes - 1) / page_bytes * page_bytes;
    PENUMBRA_TRY_ASSIGN(MappedRegion region, MappedRegion::anonymous(bytes));
    return AccessCounts{std::move(region), pages};
}

AccessCounts::AccessCounts(MappedRegion region, std::uint64_t pages)
    : region_(std::move(region)), pages_(pages), shards_(std::make_unique<std::array<Shard, shards>>()) {}

AccessCounts::Word& AccessCounts::word(std::uint64_t page) const {
    PENUMBRA_ASSERT(page < pages_, "an access to a page that is not counted");
    return reinterpret_cast<Word*>(region_.data())[page];
}

bool AccessCounts::enter(std::uint64_t page) {
    schedule_point(Step::entry_write, &word(page));
    if ((word(page).fetch_add(1, std::memory_order_seq_cst) & count_mask) < most_per_page) return true;
    leave(page);
    return false;
}

void AccessCounts::leave(std::uint64_t page) {
    schedule_point(Step::entry_write, &word(page));
    const std::uint16_t before = word(page).fetch_sub(1, std::memory_order_seq_cst);
    PENUMBRA_ASSERT((before & count_mask) != 0, "an access ended twice");
    if (before != (waited_for | 1)) return;
    // A waiter sets the mark under the lock: it either sees the page idle there, or sleeps by now.
    const MutexLock lock(shard(page).mutex);
    word(page).fetch_and(count_mask, std::memory_order_seq_cst);
    if (!planted(Plant::last_hold_wakes_nobody)) shard(page).idle.notify_all();
}

bool AccessCounts::wait_until_idle(std::uint64_t page, std::chrono::steady_clock::time_point deadline) {
    const MutexLock lock(shard(page).mutex);
    for (;;) {
        schedule_point(Step::entry_write, &word(page));
        const std::uint16_t before = word(page).fetch_or(waited_for, std::memory_order_seq_cst);
        if ((before & count_mask) == 0) return true;
        if (!shard(page).idle.wait_until(shard(page).mutex, deadline)) return !busy(page);
    }
}

}  // namespace penumbra::mmu
