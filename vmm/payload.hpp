// Real data for freestanding guests: host files, mapped read-only side by side. The kernel's page cache keeps them, so
// they cost no guest memory.
#pragma once

#include <string>
#include <vector>

#include "base/mapped_region.hpp"

namespace penumbra::vmm {

class Payload {
public:
    /// Maps the whole pages of each file, in order, until `most_bytes` are full. Files smaller than a page are passed
    /// over.
    [[nodiscard]] static Result<Payload> open(const std::vector<std::string>& files, std::uint64_t most_bytes);

    [[nodiscard]] std::uint64_t pages() const { return pages_; }
    [[nodiscard]] Hvp first() const { return frame_of(region_.address()); }

private:
    Payload(MappedRegion region, std::uint64_t pages) : region_(std::move(region)), pages_(pages) {}
    MappedRegion region_;
    std::uint64_t pages_;
};

}  // namespace penumbra::vmm
