#include "notifier-bridge/subscriber_index.hpp"

#include <algorithm>
#include <boost/geometry/algorithms/covered_by.hpp>
#include <boost/geometry/geometries/box.hpp>
#include <boost/geometry/geometries/point.hpp>
#include <boost/geometry/index/rtree.hpp>
#include <boost/geometry/strategies/cartesian.hpp>
#include <boost/geometry/strategies/index/cartesian.hpp>
#include <boost/geometry/strategies/relate/cartesian.hpp>
#include <iterator>

#include "base/assert.hpp"

namespace penumbra::bridge {

namespace geometry = boost::geometry;

namespace {

constexpr std::uint64_t most_pages = 1ULL << 51;

constexpr std::uint64_t all_bits = ~std::uint64_t{0};

/// Calls fn(word, bits) for each word of the filter that a range falls on; stops where fn says so.
template <class Fn>
void for_each_word(HvpRange pages, std::uint64_t filter_pages, Fn&& fn) {
    std::uint64_t at = pages.first().value() % filter_pages;
    std::uint64_t left = std::min(pages.pages(), filter_pages);
    while (left > 0) {
        const std::uint64_t bit = at % 64;
        const std::uint64_t count = std::min<std::uint64_t>(left, 64 - bit);
        const std::uint64_t bits = (count == 64 ? all_bits : (std::uint64_t{1} << count) - 1) << bit;
        if (!fn(at / 64, bits)) return;
        at = (at + count) % filter_pages;
        left -= count;
    }
}

}  // namespace

struct SubscriberIndex::Tree {
    using Point = geometry::model::point<std::int64_t, 1, geometry::cs::cartesian>;
    using Box = geometry::model::box<Point>;
    struct BoxOfEntry {
        using result_type = Box;
        Box operator()(const Entry& entry) const { return box_of(entry.pages); }
    };
    /// Boxes hold both their corners, so the last page is the upper one.
    static Box box_of(HvpRange pages) {
        return {Point{static_cast<std::int64_t>(pages.first().value())},
                Point{static_cast<std::int64_t>(pages.end().value() - 1)}};
    }

    geometry::index::rtree<Entry, geometry::index::quadratic<16>, BoxOfEntry> entries;
};

SubscriberIndex::SubscriberIndex() : tree_(std::make_unique<Tree>()) {}
SubscriberIndex::~SubscriberIndex() = default;

std::size_t SubscriberIndex::size() const { return tree_->entries.size(); }

void SubscriberIndex::add(const Entry& entry) {
    PENUMBRA_ASSERT(!entry.pages.empty() && entry.pages.end().value() <= most_pages, "no pages to subscribe to");
    if (marked_.empty()) marked_.resize(filter_pages / 64);
    tree_->entries.insert(entry);
    mark(entry.pages);
}

void SubscriberIndex::remove(const Entry& entry) {
    PENUMBRA_ASSERT(tree_->entries.remove(entry) == 1, "an entry that was not added");
    ++removed_;
    if (removed_ > 64 && removed_ > size()) rebuild();
}

void SubscriberIndex::rebuild() {
    std::ranges::fill(marked_, 0);
    removed_ = 0;
    for (const Entry& entry : tree_->entries) mark(entry.pages);
}

void SubscriberIndex::mark(HvpRange pages) {
    for_each_word(pages, filter_pages, [&](std::uint64_t word, std::uint64_t bits) {
        marked_[word] |= bits;
        return true;
    });
}

bool SubscriberIndex::may_hold(HvpRange pages) const {
    bool any = false;
    for_each_word(pages, filter_pages, [&](std::uint64_t word, std::uint64_t bits) {
        any = (marked_[word] & bits) != 0;
        return !any;
    });
    return any;
}

std::vector<SubscriberIndex::Entry> SubscriberIndex::find(std::span<const HvpRange> ranges) const {
    std::vector<Entry> found;
    if (size() == 0) return found;
    for (const HvpRange& range : ranges) {
        if (range.empty() || !may_hold(range)) continue;
        tree_->entries.query(geometry::index::intersects(Tree::box_of(range)), std::back_inserter(found));
    }
    std::ranges::sort(found, {}, &Entry::number);
    const auto repeated = std::ranges::unique(found, {}, &Entry::number);
    found.erase(repeated.begin(), repeated.end());
    return found;
}

}  // namespace penumbra::bridge
