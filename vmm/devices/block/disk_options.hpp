// What a user says about one disk.
#pragma once

#include <cstdint>
#include <string>

namespace penumbra::vmm {

enum class DiskAccess : std::uint8_t { read_only, read_write };
/// `direct` goes around the host's page cache (O_DIRECT): the guest has one of its own.
enum class DiskCaching : std::uint8_t { buffered, direct };

struct DiskOptions {
    std::string path;  ///< a raw image or a block device
    DiskAccess access = DiskAccess::read_write;
    DiskCaching caching = DiskCaching::buffered;
};

}  // namespace penumbra::vmm
