#include "vmm/devices/virtio/block.hpp"

#include <deque>
#include <utility>

namespace penumbra::vmm {

BlockDevice::~BlockDevice() = default;

BlockEngine::Parts BlockDevice::engine_parts() {
    return {
        .dma = dma(),
        .file = *file_,
        .io = *io_,
        .counters = counters_,
        .want = [this](Gfn gfn, mmu::FaultAccess access, DmaClient::Then then) { want(gfn, access, std::move(then)); },
        .schedule = [this] { loop().post([this] { work(); }); },
        .ended = [this](BlockTask& task) { ended(task); },
        .trouble = [this](DiskIo::Direction direction, int error_number) { trouble(direction, error_number); }};
}

void BlockDevice::take(unsigned from, Chain chain) {
    if (!BlockRequest::makes_sense(chain)) {
        return queue(from).fail("a disk request without a header or without room for a status");
    }
    const WriteCache cache = (features() & (std::uint64_t{1} << VIRTIO_BLK_F_FLUSH)) != 0 ? WriteCache::write_back
                                                                                          : WriteCache::write_through;
    requests_.push_front(std::make_unique<BlockRequest>(engine_, from, std::move(chain), cache));
    requests_.front()->place = requests_.begin();
    engine_.ready(*requests_.front());
}

void BlockDevice::work() {
    // Everything that ends in this turn is one interrupt per queue.
    std::deque<Virtqueue::Batch> batches;
    for (unsigned i = 0; i < queue_count(); ++i) batches.emplace_back(queue(i));
    engine_.work();
}

void BlockDevice::ended(BlockTask& task) {
    auto& request = static_cast<BlockRequest&>(task);
    if (request.answered()) {
        queue(request.queue()).complete(request.chain(), request.written());
    } else {
        queue(request.queue()).fail("a disk request whose header or status is not in RAM");
    }
    requests_.erase(request.place);
}

void BlockDevice::forget() {
    engine_.forget();
    requests_.clear();
}

}  // namespace penumbra::vmm
