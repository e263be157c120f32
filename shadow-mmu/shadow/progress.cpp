#include "shadow-mmu/shadow/progress.hpp"

#include <algorithm>

#include "shadow-mmu/shadow/shadow_bugs.hpp"

namespace penumbra::mmu {

void WatchSlices::watched(Gfn page, ShadowTime now) {
    if (const auto found = pages_.find(page); found != pages_.end()) found->second.watched_at = now;
}

void WatchSlices::written(Gfn page, ShadowTime now) {
    auto [found, first] = pages_.try_emplace(page);
    Page& known = found->second;
    if (first) {
        known.age = ages_.insert(ages_.end(), page);
    } else {
        ages_.splice(ages_.end(), ages_, known.age);
    }
    const bool calm = first || now - known.watched_at > limits_.calm;
    known.slice = calm ? limits_.first_slice : std::min(known.slice * 2, limits_.longest_slice);
    known.guest_until = now + known.slice;
    if (pages_.size() <= limits_.remembered) return;
    pages_.erase(ages_.front());
    ages_.pop_front();
}

std::optional<ShadowTime> WatchSlices::wait_until(Gfn page, ShadowTime now) const {
    const auto found = pages_.find(page);
    if (found == pages_.end() || found->second.guest_until <= now || shadow_bug(ShadowBug::slice_ignored)) {
        return std::nullopt;
    }
    return found->second.guest_until;
}

bool PingPong::count(const ProgressLimits& limits, ShadowTime now) {
    if (now - since_ > limits.window) {
        since_ = now;
        writes_ = 0;
    }
    return ++writes_ > limits.writes_in_window;
}

}  // namespace penumbra::mmu
