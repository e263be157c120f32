#include "base/counters.hpp"

#include <algorithm>
#include <bit>

namespace penumbra {

namespace {

constexpr unsigned step_bits = 4;

unsigned bucket_of(std::uint64_t ns) {
    if (ns < (1U << step_bits)) return static_cast<unsigned>(ns);
    const unsigned magnitude = static_cast<unsigned>(std::bit_width(ns)) - 1;
    const auto step = static_cast<unsigned>((ns >> (magnitude - step_bits)) & ((1U << step_bits) - 1));
    return ((magnitude - step_bits + 1) << step_bits) + step;
}

std::uint64_t upper_bound_of(unsigned bucket) {
    if (bucket < (1U << step_bits)) return bucket;
    const unsigned magnitude = (bucket >> step_bits) + step_bits - 1;
    const std::uint64_t step = bucket & ((1U << step_bits) - 1);
    const std::uint64_t width = std::uint64_t{1} << (magnitude - step_bits);
    return (std::uint64_t{1} << magnitude) + (step + 1) * width - 1;
}

}  // namespace

void LatencyHistogram::record(std::uint64_t ns) {
    buckets_[bucket_of(ns)].add();
    max_.raise_to(ns);
}

std::uint64_t LatencyHistogram::count() const {
    std::uint64_t total = 0;
    for (const Counter& bucket : buckets_) total += bucket.get();
    return total;
}

std::uint64_t LatencyHistogram::quantile_ns(unsigned permille) const {
    const std::uint64_t total = count();
    if (total == 0) return 0;
    const std::uint64_t wanted = (total * permille + 999) / 1000;
    std::uint64_t seen = 0;
    for (unsigned bucket = 0; bucket < buckets_.size(); ++bucket) {
        seen += buckets_[bucket].get();
        if (seen >= wanted) return std::min(upper_bound_of(bucket), max_.get());
    }
    return max_.get();
}

}  // namespace penumbra
