#include "vmm/memory/budget.hpp"

#include "base/schedule_point.hpp"

namespace penumbra::vmm {

bool Budget::try_charge() {
    schedule_point(Step::entry_write, &pages_);
    pages_.fetch_add(1, std::memory_order_relaxed);
    const std::uint64_t now = charged();
    if (now > limit_) {
        pages_.fetch_sub(1, std::memory_order_relaxed);
        return false;
    }
    peak_.raise_to(now);
    return true;
}

bool Budget::wait_for_room(std::chrono::steady_clock::time_point deadline) {
    const MutexLock lock(mutex_);
    waiting_.fetch_add(1, std::memory_order_seq_cst);
    const std::uint64_t before = announcements_;
    bool in_time = true;
    while (announcements_ == before && in_time && charged() + 4096 > limit_)
        in_time = room_.wait_until(mutex_, deadline);
    waiting_.fetch_sub(1, std::memory_order_seq_cst);
    return announcements_ != before || charged() + 4096 <= limit_;
}

void Budget::announce_room() {
    if (!somebody_waits()) return;
    const MutexLock lock(mutex_);
    ++announcements_;
    room_.notify_all();
}

}  // namespace penumbra::vmm
