// Who subscribes to which pages, asked once per range of every event.
//
// An R-tree answers exactly. Before it stands a bitmap of the pages that anybody ever named, so that pages which nobody
// subscribes to, most of what is taken, cost a look at a few words however many subscribers there are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/range.hpp"

namespace penumbra::bridge {

class Subscriber;

/// Not thread-safe to change; find() from any number of threads.
class SubscriberIndex {
public:
    struct Entry {
        HvpRange pages;
        Subscriber* subscriber = nullptr;
        std::uint64_t number = 0;  ///< the caller's; entries are found in its order
        friend bool operator==(const Entry&, const Entry&) = default;
    };

    SubscriberIndex();
    ~SubscriberIndex();
    SubscriberIndex(const SubscriberIndex&) = delete;
    SubscriberIndex& operator=(const SubscriberIndex&) = delete;

    /// The range is not empty, and its end is below 2^51 pages.
    void add(const Entry& entry);
    /// Asserts that it was added.
    void remove(const Entry& entry);
    [[nodiscard]] std::size_t size() const;
    /// Entries that share a page with any of the ranges, each once, by rising number.
    [[nodiscard]] std::vector<Entry> find(std::span<const HvpRange> ranges) const;

private:
    struct Tree;

    /// Pages by their number modulo 2^20, which is 4 GiB of them. What was removed stays marked until a rebuild.
    static constexpr std::uint64_t filter_pages = 1ULL << 20;
    void mark(HvpRange pages);
    [[nodiscard]] bool may_hold(HvpRange pages) const;
    void rebuild();

    std::unique_ptr<Tree> tree_;
    std::vector<std::uint64_t> marked_;
    std::size_t removed_ = 0;  // since the last rebuild
};

}  // namespace penumbra::bridge
