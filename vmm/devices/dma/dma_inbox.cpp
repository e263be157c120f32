#include "vmm/devices/dma/dma_inbox.hpp"

#include <utility>

#include "base/assert.hpp"

namespace penumbra::vmm {

std::uint64_t DmaInbox::add(DmaClient::Then then) {
    PENUMBRA_ASSERT(wishes_.size() < DmaClient::most_waiting, "a device wishes for pages without bound");
    wishes_.emplace(++last_wish_, std::move(then));
    return last_wish_;
}

void DmaInbox::clear() {
    std::deque<Grant> dropped;  // holds are released with no lock held
    {
        const MutexLock lock(mutex_);
        dropped.swap(granted_);
    }
    // Callbacks are destroyed last and outside the map: what they own may come back here.
    const auto forgotten = std::exchange(wishes_, {});
}

std::optional<mmu::IoTable::Hold> DmaInbox::hold_granted(Gfn gfn, mmu::HoldFor purpose) const {
    if (current_ == nullptr || !current_->hold || current_->gfn != gfn) return std::nullopt;
    return current_->hold->again(purpose);
}

void DmaInbox::give(Grant grant) {
    const MutexLock lock(mutex_);
    if (closed_) return;
    granted_.push_back(std::move(grant));
    if (std::exchange(posted_, true)) return;
    // Under the lock, because after close() the loop may be gone.
    loop_.post([self = shared_from_this()] { self->deliver(); });
}

void DmaInbox::close() {
    std::deque<Grant> dropped;
    const MutexLock lock(mutex_);
    closed_ = true;
    dropped.swap(granted_);
}

std::optional<DmaInbox::Grant> DmaInbox::next() {
    const MutexLock lock(mutex_);
    if (granted_.empty()) {
        posted_ = false;
        return std::nullopt;
    }
    Grant grant = std::move(granted_.front());
    granted_.pop_front();
    return grant;
}

void DmaInbox::deliver() {
    constexpr unsigned most = 64;  // then others on the loop have their turn
    for (unsigned i = 0; i < most; ++i) {
        const std::optional<Grant> grant = next();
        if (!grant) return;
        const auto wish = wishes_.extract(grant->wish);
        if (wish.empty()) continue;  // forgotten meanwhile
        current_ = &*grant;
        wish.mapped()(grant->what);
        current_ = nullptr;
    }
    const MutexLock lock(mutex_);
    if (!closed_) {
        loop_.post([self = shared_from_this()] { self->deliver(); });
    }
}

}  // namespace penumbra::vmm
