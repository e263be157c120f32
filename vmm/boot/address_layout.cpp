#include "vmm/boot/address_layout.hpp"

#include <algorithm>
#include <string>

#include "base/planted.hpp"
#include "guest-images/common/machine_abi.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::uint64_t granule = 2ULL << 20;
constexpr std::uint64_t min_ram_bytes = 4ULL << 20;
constexpr std::uint64_t max_ram_bytes = abi::low_ram_limit + (max_mapped_bytes - abi::high_ram_base);

GfnRange pages_at(std::uint64_t first_byte, std::uint64_t bytes) {
    return {frame_of(Gpa{first_byte}), bytes >> page_shift};
}

}  // namespace

Result<AddressLayout> AddressLayout::create(std::uint64_t ram_bytes) {
    const std::string size = std::to_string(ram_bytes >> 20) + " MiB";
    if (ram_bytes < min_ram_bytes) return fail("give a guest only " + size + " of RAM", {}, "ask for at least 4 MiB");
    if (ram_bytes > max_ram_bytes) {
        return fail("give a guest " + size + " of RAM", {},
                    "ask for at most " + std::to_string(max_ram_bytes >> 20) + " MiB");
    }
    if (ram_bytes % granule != 0 && !planted(Plant::unaligned_ram)) {
        return fail("give a guest " + std::to_string(ram_bytes) + " bytes of RAM", {}, "ask for a multiple of 2 MiB");
    }
    const std::uint64_t low = std::min(ram_bytes, abi::low_ram_limit);
    return AddressLayout(low, ram_bytes - low);
}

AddressLayout::AddressLayout(std::uint64_t low_bytes, std::uint64_t high_bytes)
    : low_bytes_(low_bytes), high_bytes_(high_bytes) {
    parts_.push_back({pages_at(0, low_bytes), 0});
    const std::uint64_t high_base = planted(Plant::overlapping_slots) ? low_bytes / 2 : abi::high_ram_base;
    if (high_bytes > 0) parts_.push_back({pages_at(high_base, high_bytes), low_bytes >> page_shift});
}

std::optional<std::uint64_t> AddressLayout::window_page_of(Gfn gfn) const {
    for (const RamPart& part : parts_) {
        if (part.guest.contains(gfn)) return part.window_page + (gfn - part.guest.first());
    }
    return std::nullopt;
}

Gfn AddressLayout::gfn_of(std::uint64_t window_page) const {
    PENUMBRA_ASSERT(window_page < pages(), "no such page in the window");
    const RamPart& part = window_page >= parts_.back().window_page ? parts_.back() : parts_.front();
    return part.guest.first() + (window_page - part.window_page);
}

}  // namespace penumbra::vmm
