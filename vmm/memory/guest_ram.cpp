#include "vmm/memory/guest_ram.hpp"

#include <utility>

namespace penumbra::vmm {

Result<GuestRam> GuestRam::create(std::uint64_t bytes) {
    const std::size_t alignment = bytes >= 1ULL << 30 ? 1ULL << 30 : 2ULL << 20;  // so that large leaves may map it
    PENUMBRA_TRY_ASSIGN(MappedRegion region, MappedRegion::anonymous(bytes, alignment));
    PENUMBRA_TRY(region.keep_private());
    return GuestRam{std::move(region)};
}

}  // namespace penumbra::vmm
