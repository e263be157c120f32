#include "vmm/devices/virtio/block_config.hpp"

#include <linux/virtio_blk.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "vmm/devices/virtio/block_ranges.hpp"

namespace penumbra::vmm {

namespace {

[[nodiscard]] constexpr std::uint64_t feature(unsigned number) { return std::uint64_t{1} << number; }

[[nodiscard]] bool discards(const DiskFile& file) {
    return file.writable() && file.limits().discard == DiskDiscard::works;
}

}  // namespace

std::uint64_t block_features(const DiskFile& file, unsigned queues) {
    std::uint64_t features = feature(VIRTIO_BLK_F_SEG_MAX) | feature(VIRTIO_BLK_F_BLK_SIZE) |
                             feature(VIRTIO_BLK_F_TOPOLOGY) | feature(VIRTIO_BLK_F_FLUSH);
    features |= feature(file.writable() ? VIRTIO_BLK_F_WRITE_ZEROES : VIRTIO_BLK_F_RO);
    if (discards(file)) features |= feature(VIRTIO_BLK_F_DISCARD);
    if (queues > 1) features |= feature(VIRTIO_BLK_F_MQ);
    return features;
}

std::vector<std::byte> block_config(const DiskFile& file, unsigned queues) {
    const DiskLimits& limits = file.limits();
    virtio_blk_config config{};
    config.capacity = limits.bytes / sector_bytes;
    // A chain without an indirect table has a descriptor for the header and one for the status as well.
    config.seg_max = block_queue_size - 2;
    config.blk_size = limits.block;
    const std::uint32_t per_physical = limits.physical_block / limits.block;
    config.physical_block_exp = static_cast<std::uint8_t>(std::countr_zero(std::bit_floor(per_physical)));
    config.min_io_size =
        static_cast<std::uint16_t>(std::min<std::uint32_t>(per_physical, std::numeric_limits<std::uint16_t>::max()));
    if (queues > 1) config.num_queues = static_cast<std::uint16_t>(queues);
    if (discards(file)) {
        config.max_discard_sectors = most_discard_sectors;
        config.max_discard_seg = most_ranges;
        config.discard_sector_alignment = limits.discard_granularity / sector_bytes;
    }
    if (file.writable()) {
        config.max_write_zeroes_sectors = most_zeroed_sectors;
        config.max_write_zeroes_seg = most_ranges;
        config.write_zeroes_may_unmap = discards(file) ? 1 : 0;
    }
    std::vector<std::byte> bytes(sizeof(config));
    std::memcpy(bytes.data(), &config, sizeof(config));
    return bytes;
}

}  // namespace penumbra::vmm
