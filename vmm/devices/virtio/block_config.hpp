// What a disk tells its driver: features and configuration space (virtio 1.2, 5.2.3 and 5.2.4).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "vmm/devices/block/disk_file.hpp"

namespace penumbra::vmm {

inline constexpr std::uint16_t block_queue_size = 256;
inline constexpr unsigned most_block_queues = 16;

/// `queues` is at least 1.
[[nodiscard]] std::uint64_t block_features(const DiskFile& file, unsigned queues);
/// The space's bytes; fields of features that are not offered are zero.
[[nodiscard]] std::vector<std::byte> block_config(const DiskFile& file, unsigned queues);

}  // namespace penumbra::vmm
