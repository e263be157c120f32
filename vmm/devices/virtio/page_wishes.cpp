#include "vmm/devices/virtio/page_wishes.hpp"

namespace penumbra::vmm {

void PageWishes::want(Gfn gfn, mmu::FaultAccess access, DmaClient::Then then) {
    dma_.want(gfn, access, [this, gfn, access, then = std::move(then)](DmaGrant grant) mutable {
        if (paused_) {
            put_off_.push_back({gfn, access, std::move(then)});
        } else {
            then(grant);
        }
    });
}

void PageWishes::resume() {
    paused_ = false;
    // Asked for again: the page is held only while its callback runs, and may have left since.
    for (Wish& wish : std::exchange(put_off_, {})) want(wish.gfn, wish.access, std::move(wish.then));
}

void PageWishes::cancel() {
    dma_.cancel();
    put_off_.clear();
}

}  // namespace penumbra::vmm
