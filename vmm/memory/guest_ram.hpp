// The window: one range of host virtual memory per VM that KVM's memslots point at. Private anonymous memory in 4 KiB
// pages, so that the kernel's COW, merging, swap and fork(2) all work on it.
#pragma once

#include <cstdint>

#include "base/mapped_region.hpp"

namespace penumbra::vmm {

class GuestRam {
public:
    /// `bytes`: a positive multiple of 4 KiB. Nothing is populated. Huge pages are off (tables hold 4 KiB leaves) and
    /// children of fork(2) do not inherit it, because a shared page cannot be moved out.
    [[nodiscard]] static Result<GuestRam> create(std::uint64_t bytes);

    [[nodiscard]] HvpRange pages() const { return region_.pages(); }

private:
    explicit GuestRam(MappedRegion region) : region_(std::move(region)) {}
    MappedRegion region_;
};

}  // namespace penumbra::vmm
