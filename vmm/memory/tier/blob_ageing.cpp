// The part of BlobPool that finds what was stored long ago.
#include "vmm/memory/tier/blob_pool.hpp"

namespace penumbra::vmm {

std::size_t BlobPool::oldest(std::span<OldBlob> out) {
    const MutexLock lock{mutex_};
    std::size_t found = scan_old(out, Scan::blobs);
    if (found == 0) found = scan_old(out, Scan::everything);
    if (looked_at_ >= heap_.slots_taken()) {  // once round: what was passed over is old soon, though nothing is stored
        looked_at_ = 0;
        ++generation_;
    }
    return found;
}

std::size_t BlobPool::scan_old(std::span<OldBlob> out, Scan scan) {
    std::size_t found = 0;
    for (std::uint32_t seen = 0; seen < table_.opened() && found < out.size(); ++seen) {
        const std::uint32_t slab = heap_.oldest_slab();
        if (slab == no_slab) break;
        if (slab != ageing_slab_) ageing_slot_ = 0;
        ageing_slab_ = slab;
        found += collect_old(out.subspan(found), scan);
        if (ageing_slot_ >= table_[slab].shape().slots) {
            heap_.rejuvenate(slab);
            ageing_slab_ = no_slab;
        }
    }
    return found;
}

std::size_t BlobPool::collect_old(std::span<OldBlob> out, Scan scan) {
    // Holes in old slabs are filled with young blobs. Those of the younger half stay: at least half always qualify, but
    // for the few that have grown so old that they look young again.
    const Slab& slab = table_[ageing_slab_];
    std::size_t found = 0;
    for (; ageing_slot_ < slab.shape().slots && found < out.size(); ++ageing_slot_) {
        if (!slab.is_taken(ageing_slot_)) continue;
        ++looked_at_;
        const SlotRef ref{ageing_slab_, ageing_slot_};
        const BlobHeader header = header_at(ref);
        const BlobState state = header.state();
        const bool dear = state == BlobState::owned && header.encoding() != Encoding::filled;
        const bool cheap = state == BlobState::owned || state == BlobState::shared || state == BlobState::duplicate ||
                           state == BlobState::anchor;
        if (header.age(generation_) < generations_to_old || !(scan == Scan::blobs ? dear : cheap)) continue;
        out[found++] = {handle_of(ref), header.page()};
    }
    return found;
}

}  // namespace penumbra::vmm
