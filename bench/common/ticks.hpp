// The time stamp counter, and order statistics of what it measured.
#pragma once

#include <x86intrin.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace penumbra::bench {

/// Earlier loads have finished when it is read, and later ones have not begun.
[[nodiscard]] inline std::uint64_t ticks_now() {
    _mm_lfence();
    const std::uint64_t now = __rdtsc();
    _mm_lfence();
    return now;
}

/// The sample that `permille` thousandths do not exceed; 0 when there are none.
[[nodiscard]] inline std::uint64_t quantile(std::vector<std::uint64_t> samples, unsigned permille) {
    if (samples.empty()) return 0;
    const std::size_t at = std::min(samples.size() - 1, samples.size() * permille / 1000);
    std::ranges::nth_element(samples, samples.begin() + static_cast<std::ptrdiff_t>(at));
    return samples[at];
}

}  // namespace penumbra::bench
