#include "vmm/memory/prefetch.hpp"

#include <algorithm>

namespace penumbra::vmm {

namespace {

std::int64_t step(Hvp from, Hvp to) {
    return static_cast<std::int64_t>(to.value()) - static_cast<std::int64_t>(from.value());
}

Hvp moved(Hvp page, std::int64_t by) {
    return Hvp{static_cast<std::uint64_t>(static_cast<std::int64_t>(page.value()) + by)};
}

}  // namespace

std::optional<Hvp> PrefetchPlan::page(Hvp faulted, std::uint32_t n, HvpRange window) const {
    const Hvp guess = moved(faulted, stride * static_cast<std::int64_t>(n));
    if (!window.contains(guess)) return std::nullopt;
    return guess;
}

PrefetchPlan StridePredictor::observe(pid_t thread, Hvp page) {
    Track& track = tracks_[static_cast<std::size_t>(thread) % tracks];
    if (track.thread != thread) track = Track{.thread = thread, .last = page};
    const std::int64_t stride = step(track.last, page);
    if (track.count > 0 && page == track.expected) {
        track.count = std::min(track.count * 2 + 1, most);
    } else {
        track.count = stride != 0 && stride == track.stride ? 3 : 0;
        track.stride = stride;
    }
    track.last = page;
    track.expected = moved(page, track.stride * static_cast<std::int64_t>(track.count + 1));
    return {track.stride, track.count};
}

}  // namespace penumbra::vmm
