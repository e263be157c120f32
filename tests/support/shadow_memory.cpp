#include "tests/support/shadow_memory.hpp"

namespace penumbra::test {

using mmu::EntryExchange;
using mmu::EntryProblem;

std::expected<std::uint64_t, EntryProblem> ShadowMemory::read(Gpa entry) {
    const Gfn gfn = frame_of(entry);
    if (!is_ram(gfn)) return std::unexpected{EntryProblem::not_ram};
    if (!is_in(gfn).load()) return std::unexpected{EntryProblem::absent};
    const std::uint64_t value = word(entry);
    if (on_read) on_read();
    return value;
}

EntryExchange ShadowMemory::compare_exchange(Gpa entry, std::uint64_t expected, std::uint64_t desired) {
    const Gfn gfn = frame_of(entry);
    if (!is_ram(gfn) || gfn >= Gfn{small_pages}) return EntryExchange::not_ram;
    const MutexLock lock(mutex_);
    if (!is_in(gfn).load()) return EntryExchange::absent;
    if (own == mmu::OwnWrites::break_watch && protected_.contains(gfn)) stale_writes_.add();
    return words_[entry.value() / 8].compare_exchange_strong(expected, desired) ? EntryExchange::done
                                                                                : EntryExchange::changed;
}

bool ShadowMemory::present(Gfn gfn) {
    const bool in = is_in(gfn).load();
    if (in && on_present) on_present();
    return in;
}

void ShadowMemory::watch(std::span<mmu::WatchRequest> pages) {
    PENUMBRA_ASSERT(highest_rank_held() == 0, "watched under a lock");
    watch_calls_.add();
    if (on_watch) on_watch();
    const MutexLock lock(mutex_);
    for (mmu::WatchRequest& request : pages) {
        request.result = mmu::WatchResult::refused;
        if (!is_ram(request.gfn) || refuse.contains(request.gfn)) continue;
        request.result = is_in(request.gfn).load() ? mmu::WatchResult::watched : mmu::WatchResult::absent;
        if (request.result == mmu::WatchResult::watched) protected_.insert(request.gfn);
    }
}

void ShadowMemory::unwatch(std::span<const Gfn> pages) {
    PENUMBRA_ASSERT(highest_rank_held() == 0, "unwatched under a lock");
    {
        const MutexLock lock(mutex_);
        for (const Gfn gfn : pages) protected_.erase(gfn);
    }
    if (on_unwatch) on_unwatch(pages);
}

bridge::StartResult ShadowMemory::invalidate_start(const bridge::InvalidationEvent& event) {
    const mmu::Memslots slots = memslots();
    const MutexLock lock(mutex_);
    for (const HvpRange& range : event.ranges.ranges()) {
        slots.for_each_guest_range(range, [&](GfnRange guest) NO_THREAD_SAFETY_ANALYSIS {
            for (Gfn gfn = guest.first(); gfn < guest.end(); ++gfn) {
                is_in(gfn).store(false);
                protected_.erase(gfn);
            }
        });
    }
    return bridge::StartResult::done;
}

bool ShadowMemory::try_store(Gpa entry, std::uint64_t value) {
    const MutexLock lock(mutex_);
    if (protected_.contains(frame_of(entry)) || !is_in(frame_of(entry)).load()) return false;
    overwrite(entry, value);
    return true;
}

void ShadowMemory::overwrite(Gpa entry, std::uint64_t value) {
    const std::uint64_t old = words_[entry.value() / 8].exchange(value);
    const std::uint64_t now = stores_.fetch_add(1) + 1;
    if (keeps_history && old != value) history_[entry].push_back({old, now});
}

std::vector<ShadowMemory::Overwritten> ShadowMemory::history_of(Gpa entry) const {
    const MutexLock lock(mutex_);
    const auto found = history_.find(entry);
    return found == history_.end() ? std::vector<Overwritten>{} : found->second;
}

std::uint64_t ShadowMemory::word(Gpa entry) const {
    return frame_of(entry) < Gfn{small_pages} ? words_[entry.value() / 8].load() : 0;
}

bool ShadowMemory::is_protected(Gfn gfn) const {
    const MutexLock lock(mutex_);
    return protected_.contains(gfn);
}

std::size_t ShadowMemory::protected_pages() const {
    const MutexLock lock(mutex_);
    return protected_.size();
}

void ShadowMemory::device_store(Gpa entry, std::uint64_t value) {
    const MutexLock lock(mutex_);
    if (protected_.contains(frame_of(entry))) stale_writes_.add();
    overwrite(entry, value);
}

std::optional<mmu::CachedTranslation> ModelledContextTlb::lookup(mmu::ContextId context, mmu::Gvp page) const {
    const MutexLock lock(mutex_);
    const auto found = entries_.find(Key{context, page});
    if (found == entries_.end()) return std::nullopt;
    return found->second;
}

void ModelledContextTlb::fill(mmu::ContextId context, mmu::Gvp page, mmu::CachedTranslation translation) {
    const MutexLock lock(mutex_);
    entries_.insert_or_assign(Key{context, page}, translation);
}

void ModelledContextTlb::flush(std::span<const mmu::ContextRun> runs) {
    {
        const MutexLock lock(mutex_);
        for (const mmu::ContextRun& run : runs) {
            entries_.erase(entries_.lower_bound(Key{run.context, run.pages.first()}),
                           entries_.lower_bound(Key{run.context, run.pages.end()}));
        }
    }
    if (on_flush) on_flush();
}

void ModelledContextTlb::flush_all() {
    {
        const MutexLock lock(mutex_);
        entries_.clear();
    }
    full_flushes_.add();
    if (on_flush) on_flush();
}

std::map<ModelledContextTlb::Key, mmu::CachedTranslation> ModelledContextTlb::snapshot() const {
    const MutexLock lock(mutex_);
    return entries_;
}

}  // namespace penumbra::test
