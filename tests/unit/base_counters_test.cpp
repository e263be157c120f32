#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "base/counters.hpp"
#include "base/thread.hpp"

namespace penumbra {
namespace {

TEST(Counter, AddsSubtractsAndKeepsTheHighest) {
    Counter counter;
    counter.add(5);
    counter.sub(2);
    counter.raise_to(1);
    EXPECT_EQ(counter.get(), 3U);
    counter.raise_to(9);
    EXPECT_EQ(counter.get(), 9U);
}

TEST(Counter, LosesNothingBetweenThreads) {
    constexpr unsigned per_thread = 10'000;
    Counter counter;
    const auto body = [&counter] {
        for (unsigned i = 0; i < per_thread; ++i) counter.add();
    };
    Thread first("first", ThreadRole::vmm, body);
    Thread second("second", ThreadRole::vmm, body);
    first.join();
    second.join();
    EXPECT_EQ(counter.get(), 2U * per_thread);
}

TEST(LatencyHistogram, EmptyAnswersZero) {
    const LatencyHistogram histogram;
    EXPECT_EQ(histogram.count(), 0U);
    EXPECT_EQ(histogram.quantile_ns(500), 0U);
    EXPECT_EQ(histogram.max_ns(), 0U);
}

TEST(LatencyHistogram, SmallValuesAreExact) {
    LatencyHistogram histogram;
    for (std::uint64_t ns = 1; ns <= 10; ++ns) histogram.record(ns);
    EXPECT_EQ(histogram.count(), 10U);
    EXPECT_EQ(histogram.quantile_ns(100), 1U);
    EXPECT_EQ(histogram.quantile_ns(500), 5U);
    EXPECT_EQ(histogram.quantile_ns(1000), 10U);
}

TEST(LatencyHistogram, TakesTheLargestValueThereIs) {
    LatencyHistogram histogram;
    histogram.record(std::numeric_limits<std::uint64_t>::max());
    histogram.record(0);
    EXPECT_EQ(histogram.quantile_ns(500), 0U);
    EXPECT_EQ(histogram.quantile_ns(1000), std::numeric_limits<std::uint64_t>::max());
}

RC_GTEST_PROP(LatencyHistogram, QuantileIsNeverLowAndAtMostOneSixteenthHigh, (std::vector<std::uint32_t> samples)) {
    RC_PRE(!samples.empty());
    LatencyHistogram histogram;
    for (const std::uint32_t ns : samples) histogram.record(ns);
    std::sort(samples.begin(), samples.end());
    for (const unsigned permille : {1U, 500U, 900U, 990U, 999U, 1000U}) {
        const std::uint64_t rank = (samples.size() * permille + 999) / 1000;
        const std::uint64_t exact = samples[rank - 1];
        const std::uint64_t answer = histogram.quantile_ns(permille);
        RC_ASSERT(answer >= exact);
        RC_ASSERT(answer <= exact + exact / 16);
    }
    RC_ASSERT(histogram.max_ns() == samples.back());
}

}  // namespace
}  // namespace penumbra
