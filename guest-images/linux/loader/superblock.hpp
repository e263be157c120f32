// Which file system a block device holds, by its first bytes, which are hostile.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

namespace penumbra::loader {

struct Superblock {
    std::string driver;  ///< Linux's name: ext4 (which reads ext2 and ext3 too), xfs, btrfs, vfat
    std::string uuid;    ///< as `blkid` and GRUB write it
    std::string label;
};

/// As many bytes as read_superblock() looks at.
inline constexpr std::size_t superblock_bytes = 65536 + 4096;

[[nodiscard]] std::optional<Superblock> read_superblock(std::span<const std::byte> start);

}  // namespace penumbra::loader
