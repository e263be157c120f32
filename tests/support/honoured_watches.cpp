#include "tests/support/honoured_watches.hpp"

#include <atomic>
#include <cstring>

namespace penumbra::test {

void HonouredWatches::watch(std::span<mmu::WatchRequest> pages) {
    const MutexLock lock(mutex_);
    window_.watch(pages);
}

void HonouredWatches::unwatch(std::span<const Gfn> pages) {
    const MutexLock lock(mutex_);
    window_.unwatch(pages);
}

HonouredWatches::Stored HonouredWatches::try_store(Gpa to, std::span<const std::byte> from) {
    const MutexLock lock(mutex_);
    const auto access = ept_.access(frame_of(to));
    if (!access) return Stored::absent;
    if (protection_.is_protected(access->page)) return Stored::watched;
    std::byte* const at = pointer_to(access->page) + page_offset(to);
    std::uint64_t word = 0;
    if (from.size() == sizeof(word) && to.value() % sizeof(word) == 0) {
        std::memcpy(&word, from.data(), sizeof(word));
        std::atomic_ref(*reinterpret_cast<std::uint64_t*>(at)).store(word, std::memory_order_seq_cst);
    } else {
        std::memcpy(at, from.data(), from.size());
    }
    return Stored::done;
}

}  // namespace penumbra::test
