#include "bench/common/crowded_bridge.hpp"

#include <algorithm>
#include <numeric>
#include <random>

#include "base/assert.hpp"

namespace penumbra::bench {

namespace {

constexpr std::uint64_t window_pages = 1ULL << 18;
constexpr Hvp window_first{1ULL << 30};
constexpr std::size_t prepared_events = 1024;

}  // namespace

bridge::StartResult CrowdedBridge::Deaf::invalidate_start(const bridge::InvalidationEvent&) {
    assertion_failed("silence", __FILE__, __LINE__, "an event reached a subscriber to other pages");
}

CrowdedBridge::CrowdedBridge(std::size_t subscribers) : subscribers_(subscribers) {
    std::mt19937_64 random(subscribers);
    std::vector<std::uint64_t> halves(window_pages / 2);
    std::iota(halves.begin(), halves.end(), 0U);
    std::ranges::shuffle(halves, random);
    PENUMBRA_ASSERT(subscribers <= halves.size(), "more subscribers than pages");
    for (std::size_t i = 0; i < subscribers; ++i) {
        subscriptions_.push_back(space_.subscribe(subscribers_[i], HvpRange{window_first + halves[i] * 2, 1}));
    }
    for (std::size_t i = 0; i < prepared_events; ++i) {
        std::vector<std::uint64_t> pages(event_pages);
        for (std::uint64_t& page : pages) page = random() % (window_pages / 2) * 2 + 1;
        std::ranges::sort(pages);
        bridge::RangeSet ranges;
        for (const std::uint64_t page : pages) ranges.add(HvpRange{window_first + page, 1});
        events_.push_back(std::move(ranges));
    }
}

void CrowdedBridge::invalidate(std::uint64_t events) {
    for (std::uint64_t i = 0; i < events; ++i) {
        bridge::InvalidationEvent event;
        event.reason = bridge::Reason::discard;
        event.ranges = events_[next_++ % prepared_events];
        const bridge::Invalidation bracket(space_, std::move(event));
    }
}

}  // namespace penumbra::bench
