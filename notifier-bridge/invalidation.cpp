#include "notifier-bridge/invalidation.hpp"

#include <array>

namespace penumbra::bridge {

std::string_view name_of(Reason reason) {
    static constexpr std::array<std::string_view, reason_count> names = {
        "unmap",          "remap",     "protect",  "discard",   "swap_out",      "migrate_node",
        "migrate_device", "exclusive", "fork_cow", "cow_break", "write_protect", "dedup",
        "split",          "collapse",  "poison",   "release",   "unknown"};
    return names[static_cast<std::size_t>(reason)];
}

void RangeSet::add(HvpRange range) {
    if (range.empty()) return;
    if (ranges_.empty() || ranges_.back().end() < range.first()) {
        ranges_.push_back(range);
        return;
    }
    // First range that ends at or after the new one's start: everything from there that touches it merges into it.
    auto first = std::lower_bound(ranges_.begin(), ranges_.end(), range.first(),
                                  [](const HvpRange& r, Hvp page) { return r.end() < page; });
    auto last = first;
    Hvp begin = range.first();
    Hvp end = range.end();
    for (; last != ranges_.end() && last->first() <= range.end(); ++last) {
        begin = std::min(begin, last->first());
        end = std::max(end, last->end());
    }
    first = ranges_.erase(first, last);
    ranges_.insert(first, HvpRange{begin, end - begin});
}

std::uint64_t RangeSet::pages() const {
    std::uint64_t total = 0;
    for (const HvpRange& range : ranges_) total += range.pages();
    return total;
}

bool RangeSet::contains(Hvp page) const { return overlaps(HvpRange{page, 1}); }

bool RangeSet::overlaps(HvpRange range) const {
    const auto found = std::lower_bound(ranges_.begin(), ranges_.end(), range.first(),
                                        [](const HvpRange& r, Hvp page) { return r.end() <= page; });
    return found != ranges_.end() && found->overlaps(range);
}

}  // namespace penumbra::bridge
