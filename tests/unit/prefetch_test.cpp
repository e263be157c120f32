// What a walking thread's faults bring along, and which way of waiting for faults a machine chooses.
#include "vmm/memory/prefetch.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <thread>

#include "vmm/machine.hpp"

namespace penumbra::vmm {
namespace {

constexpr pid_t walker = 100;
constexpr pid_t other = 101;

TEST(StridePredictor, TwoEqualStepsStartAPlanThatGrowsWhileItIsRight) {
    for (const std::uint64_t stride : {std::uint64_t{1}, std::uint64_t{37}}) {
        StridePredictor predictor;
        Hvp page{1000};
        EXPECT_EQ(predictor.observe(walker, page).count, 0U);
        EXPECT_EQ(predictor.observe(walker, page += stride).count, 0U);
        PrefetchPlan plan = predictor.observe(walker, page += stride);
        EXPECT_EQ(plan.stride, static_cast<std::int64_t>(stride));
        EXPECT_EQ(plan.count, 3U);
        for (const std::uint32_t grown : {7U, 15U, 31U, StridePredictor::most}) {
            page += stride * (plan.count + 1);
            plan = predictor.observe(walker, page);
            EXPECT_EQ(plan.count, grown);
        }
    }
}

TEST(StridePredictor, AWrongGuessEndsThePlan) {
    StridePredictor predictor;
    for (const std::uint64_t page : {10U, 11U, 12U}) (void)predictor.observe(walker, Hvp{page});
    EXPECT_EQ(predictor.observe(walker, Hvp{5000}).count, 0U);
    EXPECT_EQ(predictor.observe(walker, Hvp{77}).count, 0U);
}

TEST(StridePredictor, ThreadsAreFollowedApart) {
    StridePredictor predictor;
    PrefetchPlan plan;
    for (std::uint64_t i = 0; i < 3; ++i) {
        plan = predictor.observe(walker, Hvp{10 + i});
        EXPECT_EQ(predictor.observe(other, Hvp{9000 + i * i * 100}).count, 0U);
    }
    EXPECT_EQ(plan.count, 3U);
}

TEST(PrefetchPlan, StaysInTheWindow) {
    const HvpRange window{Hvp{100}, 10};
    const PrefetchPlan down{-4, 3};
    EXPECT_EQ(down.page(Hvp{105}, 1, window), Hvp{101});
    EXPECT_EQ(down.page(Hvp{105}, 2, window), std::nullopt);
}

TEST(FaultReadingChoice, SpinsOnlyForUserModeGuestsWithoutHardwareAndACpuToSpare) {
    const unsigned all = std::thread::hardware_concurrency();
    EXPECT_EQ(best_fault_reading(KvmFlavour::pvm, GuestRing::ring3, all), FaultReading::follow);
    EXPECT_EQ(best_fault_reading(KvmFlavour::pvm, GuestRing::ring0, 0), FaultReading::follow);
    EXPECT_EQ(best_fault_reading(KvmFlavour::ept, GuestRing::ring3, 0), FaultReading::follow);
    EXPECT_EQ(best_fault_reading(KvmFlavour::pvm, GuestRing::ring3, all - 1), FaultReading::spin);
}

}  // namespace
}  // namespace penumbra::vmm
