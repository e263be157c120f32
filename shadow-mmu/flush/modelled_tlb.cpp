#include "shadow-mmu/flush/modelled_tlb.hpp"

namespace penumbra::mmu {

std::optional<Hvp> ModelledTlb::lookup(Gfn gfn) const {
    const MutexLock lock(mutex_);
    const auto found = pages_.find(gfn);
    if (found == pages_.end()) return std::nullopt;
    return found->second;
}

void ModelledTlb::flush(std::span<const GfnRange> ranges) {
    for (const GfnRange& range : ranges) drop(range);
}

void ModelledTlb::flush_all() {
    const MutexLock lock(mutex_);
    pages_.clear();
}

std::size_t ModelledTlb::size() const {
    const MutexLock lock(mutex_);
    return pages_.size();
}

void ModelledTlb::put(Gfn gfn, Hvp page) {
    const MutexLock lock(mutex_);
    pages_.insert_or_assign(gfn, page);
}

void ModelledTlb::drop(GfnRange range) {
    const MutexLock lock(mutex_);
    pages_.erase(pages_.lower_bound(range.first()), pages_.lower_bound(range.end()));
}

std::map<Gfn, Hvp> ModelledTlb::snapshot() const {
    const MutexLock lock(mutex_);
    return pages_;
}

}  // namespace penumbra::mmu
