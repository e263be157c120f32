#include "bench/common/paging_patterns.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "base/assert.hpp"

namespace penumbra::bench {

namespace {

constexpr std::uint64_t seed = 1;
constexpr double theta = 0.99;

}  // namespace

TouchLists::TouchLists() : changes_(paging_pages), zipf_sums_(paging_pages), scattered_(paging_pages) {
    double sum = 0;
    for (std::uint32_t rank = 0; rank < paging_pages; ++rank) {
        sum += std::pow(static_cast<double>(rank + 1), -theta);
        zipf_sums_[rank] = sum;
    }
    std::iota(scattered_.begin(), scattered_.end(), 0U);
    std::ranges::shuffle(scattered_, std::mt19937_64{seed});
}

std::uint32_t TouchLists::zipf_page(double uniform) const {
    const auto rank = std::ranges::upper_bound(zipf_sums_, uniform * zipf_sums_.back()) - zipf_sums_.begin();
    return scattered_[static_cast<std::size_t>(std::min<std::ptrdiff_t>(rank, paging_pages - 1))];
}

void TouchLists::fill(abi::TouchList& list, Pattern pattern, abi::TouchKind kind, std::uint32_t touches,
                      std::uint32_t round) {
    PENUMBRA_ASSERT(touches <= paging_pages, "a list has room for every page once");
    constexpr std::uint32_t stride = 8;
    std::mt19937_64 random{seed + round};
    std::uniform_real_distribution<double> uniform{0, 1};
    std::uniform_int_distribution<std::uint32_t> any_page{0, paging_pages - 1};
    auto* const orders =
        reinterpret_cast<abi::TouchOrder*>(reinterpret_cast<std::byte*>(&list) + abi::touch_orders_offset);
    const std::uint64_t before = std::uint64_t{round} * touches;
    for (std::uint32_t i = 0; i < touches; ++i) {
        std::uint64_t page = 0;
        switch (pattern) {
            case Pattern::sequential:
                page = (before + i) % paging_pages;
                break;
            case Pattern::stride8: {
                const std::uint64_t at = (before + i) % paging_pages * stride;
                page = at % paging_pages + at / paging_pages;
                break;
            }
            case Pattern::zipf:
                page = zipf_page(uniform(random));
                break;
            case Pattern::random:
                page = any_page(random);
                break;
        }
        orders[i] = {static_cast<std::uint32_t>(page), changes_[page]};
        if (kind == abi::TouchKind::write) ++changes_[page];
    }
    list.count = touches;
    list.kind = static_cast<std::uint64_t>(kind);
    list.mismatches = touches;  // until the touches are made
}

}  // namespace penumbra::bench
