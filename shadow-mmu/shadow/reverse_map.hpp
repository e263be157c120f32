// Host page -> the leaves that name it: how an invalidation finds them. (KVM: struct kvm_rmap_head, mmu/mmu.c.)
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <vector>

#include "base/assert.hpp"
#include "base/range.hpp"
#include "shadow-mmu/shadow/shadow_bugs.hpp"

namespace penumbra::mmu {

struct ShadowPage;

/// One entry of a shadow page.
struct EntryPlace {
    ShadowPage* page = nullptr;
    std::uint16_t index = 0;
    friend bool operator==(const EntryPlace&, const EntryPlace&) = default;
};

/// Not thread-safe.
class ReverseMap {
public:
    void add(Hvp page, EntryPlace place) {
        std::vector<EntryPlace>& places = places_[page];
        if (!places.empty() && shadow_bug(ShadowBug::missed_reverse_entry)) return;
        places.push_back(place);
        ++leaves_;
    }
    void remove(Hvp page, EntryPlace place) {
        const auto found = places_.find(page);
        if (found == places_.end() && shadow_bug(ShadowBug::missed_reverse_entry)) return;
        PENUMBRA_ASSERT(found != places_.end(), "a leaf without a reverse entry");
        std::vector<EntryPlace>& places = found->second;
        const auto at = std::find(places.begin(), places.end(), place);
        if (at == places.end() && shadow_bug(ShadowBug::missed_reverse_entry)) return;
        PENUMBRA_ASSERT(at != places.end(), "a leaf without a reverse entry");
        *at = places.back();
        places.pop_back();
        --leaves_;
        if (places.empty()) places_.erase(found);
    }
    /// Every leaf that names a page of the range.
    [[nodiscard]] std::vector<EntryPlace> places_in(HvpRange range) const {
        std::vector<EntryPlace> all;
        for (auto at = places_.lower_bound(range.first()); at != places_.end() && at->first < range.end(); ++at) {
            all.insert(all.end(), at->second.begin(), at->second.end());
        }
        return all;
    }
    [[nodiscard]] bool has(Hvp page, EntryPlace place) const {
        const auto found = places_.find(page);
        return found != places_.end() && std::ranges::count(found->second, place) == 1;
    }
    [[nodiscard]] std::uint64_t leaves() const { return leaves_; }

private:
    std::map<Hvp, std::vector<EntryPlace>> places_;
    std::uint64_t leaves_ = 0;
};

}  // namespace penumbra::mmu
