#include "vmm/memory/guest_ram.hpp"

#include <utility>

namespace penumbra::vmm {

Result<GuestRam> GuestRam::create(std::uint64_t bytes) {
    constexpr std::size_t alignment = 2ULL << 20;  // so that guest and host large pages can agree later
    PENUMBRA_TRY_ASSIGN(MappedRegion region, MappedRegion::anonymous(bytes, alignment));
    PENUMBRA_TRY(region.keep_private());
    return GuestRam{std::move(region)};
}

}  // namespace penumbra::vmm
