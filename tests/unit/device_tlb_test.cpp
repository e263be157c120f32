// Both TLBs: the device's, which is a cache, and the modelled one, which forgets nothing by itself.
#include "shadow-mmu/flush/device_tlb.hpp"

#include <gtest/gtest.h>

#include <array>

#include "shadow-mmu/flush/modelled_tlb.hpp"

namespace penumbra::mmu {
namespace {

template <class T>
class TlbTest : public testing::Test {
protected:
    void fill(std::uint64_t gfn) {
        tlb_.fill(Gfn{gfn}, Hvp{gfn + 1000}, [] { return true; });
    }
    void flush(std::uint64_t first, std::uint64_t pages) {
        const std::array ranges{GfnRange{Gfn{first}, pages}};
        tlb_.flush(ranges);
    }
    bool holds(std::uint64_t gfn) const { return tlb_.lookup(Gfn{gfn}) == Hvp{gfn + 1000}; }
    T tlb_;
};
using Tlbs = testing::Types<DeviceTlb, ModelledTlb>;
TYPED_TEST_SUITE(TlbTest, Tlbs);

TYPED_TEST(TlbTest, AnswersWhatWasFilled) {
    EXPECT_FALSE(this->tlb_.lookup(Gfn{0}));
    this->fill(0);
    this->fill(5);
    EXPECT_TRUE(this->holds(0));
    EXPECT_TRUE(this->holds(5));
    EXPECT_FALSE(this->tlb_.lookup(Gfn{1}));
    EXPECT_FALSE(this->tlb_.lookup(Gfn{5 + 1024})) << "another frame of the same place in the device's cache";
}

TYPED_TEST(TlbTest, FlushTakesItsRangeOnly) {
    for (std::uint64_t gfn = 10; gfn < 20; ++gfn) this->fill(gfn);
    this->flush(12, 3);
    for (std::uint64_t gfn = 10; gfn < 20; ++gfn) EXPECT_EQ(this->holds(gfn), gfn < 12 || gfn >= 15) << gfn;
    this->flush(12 + 1024, 3);  // same places, other frames
    EXPECT_TRUE(this->holds(15));
    this->flush(0, 5000);
    EXPECT_FALSE(this->holds(15));
}

TYPED_TEST(TlbTest, FlushAllTakesEverything) {
    for (const std::uint64_t gfn : {0U, 700U, 5000U}) this->fill(gfn);
    this->tlb_.flush_all();
    for (const std::uint64_t gfn : {0U, 700U, 5000U}) EXPECT_FALSE(this->tlb_.lookup(Gfn{gfn}));
}

TYPED_TEST(TlbTest, FillThatMeetsAZapIsTakenBack) {
    this->tlb_.fill(Gfn{3}, Hvp{9}, [] { return false; });
    EXPECT_FALSE(this->tlb_.lookup(Gfn{3}));
    // The invalidator came between the fill and its second look.
    this->tlb_.fill(Gfn{3}, Hvp{9}, [this] {
        this->flush(3, 1);
        return true;
    });
    EXPECT_FALSE(this->tlb_.lookup(Gfn{3}));
}

TEST(DeviceTlb, CountsFlushes) {
    DeviceTlb tlb;
    tlb.flush_all();
    tlb.flush({});
    EXPECT_EQ(tlb.flushes(), 2U);
}

TEST(ModelledTlb, ForgetsNothingAndFindsTheStale) {
    ModelledTlb tlb;
    for (std::uint64_t gfn = 0; gfn < 3000; ++gfn) tlb.fill(Gfn{gfn}, Hvp{gfn}, [] { return true; });
    EXPECT_EQ(tlb.size(), 3000U);
    EXPECT_TRUE(tlb.stale([](Gfn gfn, Hvp page) { return gfn.value() == page.value(); }).empty());
    const auto stale = tlb.stale([](Gfn gfn, Hvp) { return gfn != Gfn{17} && gfn != Gfn{2999}; });
    EXPECT_EQ(stale, (std::vector{Gfn{17}, Gfn{2999}}));
}

}  // namespace
}  // namespace penumbra::mmu
