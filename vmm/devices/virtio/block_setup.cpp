// A disk's host side: opening it, and what people are told of its I/O errors.
#include <fmt/format.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "base/assert.hpp"
#include "vmm/devices/virtio/block.hpp"
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

void BlockDevice::trouble(DiskIo::Direction direction, int error_number) {
    troubles_.complain(
        fmt::format("{}: cannot {} {}: {}; the guest gets an I/O error; {}", name(),
                    direction == DiskIo::Direction::read ? "read" : "write", file_->options().path,
                    error_number == disk_ended ? "the file has ended" : std::generic_category().message(error_number),
                    cure_for(error_number)));
}

}  // namespace penumbra::vmm
