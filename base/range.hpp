// Half-open ranges of page frames.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/address.hpp"

namespace penumbra {

/// `pages` frames from `first`. May be empty. Construction asserts that the end does not overflow.
template <class F>
class FrameRange {
public:
    constexpr FrameRange() = default;
    constexpr FrameRange(F first, std::uint64_t pages) : first_(first), pages_(pages) { (void)(first + pages); }

    [[nodiscard]] constexpr F first() const { return first_; }
    [[nodiscard]] constexpr F end() const { return first_ + pages_; }
    [[nodiscard]] constexpr std::uint64_t pages() const { return pages_; }
    [[nodiscard]] constexpr std::uint64_t bytes() const { return pages_ << page_shift; }
    [[nodiscard]] constexpr bool empty() const { return pages_ == 0; }
    [[nodiscard]] constexpr bool contains(F frame) const { return frame >= first_ && frame < end(); }
    [[nodiscard]] constexpr bool contains(FrameRange r) const { return r.first() >= first_ && r.end() <= end(); }
    [[nodiscard]] constexpr bool overlaps(FrameRange r) const {
        return !empty() && !r.empty() && first_ < r.end() && r.first() < end();
    }

    friend constexpr bool operator==(FrameRange, FrameRange) = default;

private:
    F first_{};
    std::uint64_t pages_ = 0;
};

using GfnRange = FrameRange<Gfn>;
using HvpRange = FrameRange<Hvp>;

}  // namespace penumbra
