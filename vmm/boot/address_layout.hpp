// Where RAM lies in the guest's physical address space, and which page of the host's window each piece is.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/range.hpp"
#include "base/result.hpp"

namespace penumbra::vmm {

/// One memory slot: `guest` is backed by the window's pages from `window_page` on.
struct RamPart {
    GfnRange guest;
    std::uint64_t window_page;
};

/// RAM below the devices, then the rest from 4 GiB on; the window holds both without a gap. Immutable.
class AddressLayout {
public:
    /// `ram_bytes` is a multiple of 2 MiB, from 4 MiB to the most that the boot page tables can map.
    [[nodiscard]] static Result<AddressLayout> create(std::uint64_t ram_bytes);

    [[nodiscard]] const std::vector<RamPart>& parts() const { return parts_; }
    [[nodiscard]] std::uint64_t low_bytes() const { return low_bytes_; }
    [[nodiscard]] std::uint64_t high_bytes() const { return high_bytes_; }
    [[nodiscard]] std::uint64_t pages() const { return (low_bytes_ + high_bytes_) >> page_shift; }

    /// Empty for addresses that are not RAM.
    [[nodiscard]] std::optional<std::uint64_t> window_page_of(Gfn gfn) const;
    /// Asserts that the window has that page.
    [[nodiscard]] Gfn gfn_of(std::uint64_t window_page) const;

private:
    AddressLayout(std::uint64_t low_bytes, std::uint64_t high_bytes);

    std::uint64_t low_bytes_;
    std::uint64_t high_bytes_;
    std::vector<RamPart> parts_;
};

/// Most guest-physical address space that the boot page tables can map, in bytes.
inline constexpr std::uint64_t max_mapped_bytes = std::uint64_t{60} << 30;

}  // namespace penumbra::vmm
