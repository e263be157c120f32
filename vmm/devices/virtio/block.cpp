#include "vmm/devices/virtio/block.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <deque>
#include <system_error>
#include <utility>

#include "base/assert.hpp"
#include "vmm/devices/virtio/block_config.hpp"

namespace penumbra::vmm {

namespace {

[[nodiscard]] VirtioSpec spec_of(const BlockSetup& setup, const DiskFile& file) {
    VirtioSpec spec;
    spec.id = VirtioId::block;
    spec.name = setup.name;
    spec.features = block_features(file, setup.queues);
    spec.queues.assign(setup.queues, QueueSpec{.max_size = block_queue_size, .delivery = Delivery::as_ready});
    spec.config = block_config(file, setup.queues);
    spec.on_trouble = setup.on_trouble;
    return spec;
}

[[nodiscard]] std::string_view cure_for(int error_number) {
    switch (error_number) {
        case ENOSPC:
        case EDQUOT:
            return "free space on the disk's file system";
        case disk_ended:
            return "the file was shortened while the machine ran: give it its size back";
        default:
            return "look after the host's storage";
    }
}

}  // namespace

Result<std::unique_ptr<BlockDevice>> BlockDevice::create(BlockSetup setup, DmaService& dma, IoLoop& loop) {
    PENUMBRA_ASSERT(setup.queues >= 1 && setup.queues <= most_block_queues, "a disk has 1..16 queues");
    PENUMBRA_TRY_ASSIGN(DiskFile opened, DiskFile::open(setup.disk));
    auto file = std::make_unique<DiskFile>(std::move(opened));
    PENUMBRA_TRY_ASSIGN(auto io, DiskIo::create(*file, loop, BlockEngine::ring_depth));
    return std::unique_ptr<BlockDevice>{new BlockDevice(setup, std::move(file), std::move(io), dma, loop)};
}

BlockDevice::BlockDevice(const BlockSetup& setup, std::unique_ptr<DiskFile> file, std::unique_ptr<DiskIo> io,
                         DmaService& dma, IoLoop& loop)
    : VirtioDevice(spec_of(setup, *file), dma, loop),
      file_(std::move(file)),
      troubles_(setup.on_trouble),
      io_(std::move(io)),
      engine_(engine_parts()) {}

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

void BlockDevice::trouble(DiskIo::Direction direction, int error_number) {
    troubles_.complain(
        fmt::format("{}: cannot {} {}: {}; the guest gets an I/O error; {}", name(),
                    direction == DiskIo::Direction::read ? "read" : "write", file_->options().path,
                    error_number == disk_ended ? "the file has ended" : std::generic_category().message(error_number),
                    cure_for(error_number)));
}

}  // namespace penumbra::vmm
