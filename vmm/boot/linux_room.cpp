#include "vmm/boot/linux_room.hpp"

#include "guest-images/common/machine_abi.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::uint64_t ram_granule = 2ULL << 20;  // AddressLayout takes nothing smaller

}  // namespace

std::unexpected<Error> no_room(const std::string& what, const std::string& path, std::uint64_t end) {
    const std::string act = "fit into the guest's RAM " + what;
    if (end > abi::low_ram_limit) return fail(act, path, "name a smaller one: a guest has at most 3 GiB below 4 GiB");
    const std::uint64_t mib = align_up(end, ram_granule) >> 20;
    return fail(act, path, "give the guest at least " + std::to_string(mib) + " MiB");
}

}  // namespace penumbra::vmm
