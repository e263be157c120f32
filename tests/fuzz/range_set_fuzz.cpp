// RangeSet against the set of pages that it stands for.
//
// covers: notifier-bridge/invalidation.cpp
#include <fuzzer/FuzzedDataProvider.h>

#include <set>

#include "base/assert.hpp"
#include "notifier-bridge/invalidation.hpp"

namespace {

using namespace penumbra;
using namespace penumbra::bridge;

/// Mostly small numbers, so that ranges meet; some at the end of the address space.
Hvp some_page(FuzzedDataProvider& input) {
    constexpr std::uint64_t last = ~std::uint64_t{0} - 300;
    const std::uint64_t small = input.ConsumeIntegralInRange<std::uint64_t>(0, 200);
    return Hvp{input.ConsumeIntegralInRange(0, 15) == 0 ? last + small : small};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    FuzzedDataProvider input(data, size);
    RangeSet ranges;
    std::set<Hvp> model;
    while (input.remaining_bytes() > 0) {
        const Hvp first = some_page(input);
        const auto pages = input.ConsumeIntegralInRange<std::uint64_t>(0, 40);
        switch (input.ConsumeIntegralInRange(0, 9)) {
            case 0:
                ranges.clear();
                model.clear();
                break;
            case 1: {
                const auto next = model.lower_bound(first);
                const bool overlap = next != model.end() && *next < first + pages;
                PENUMBRA_ASSERT(ranges.overlaps(HvpRange{first, pages}) == overlap, "overlaps() is wrong");
                PENUMBRA_ASSERT(ranges.contains(first) == model.contains(first), "contains() is wrong");
                break;
            }
            default:
                ranges.add(HvpRange{first, pages});
                for (std::uint64_t i = 0; i < pages; ++i) model.insert(first + i);
        }
        PENUMBRA_ASSERT(ranges.pages() == model.size(), "pages() is wrong");
        PENUMBRA_ASSERT(ranges.empty() == model.empty(), "empty() is wrong");
        for (std::size_t i = 1; i < ranges.ranges().size(); ++i) {
            PENUMBRA_ASSERT(ranges.ranges()[i - 1].end() < ranges.ranges()[i].first(),
                            "ranges touch or are not sorted");
        }
    }
    return 0;
}
