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

constexpr std::uint64_t pages_2m = pages_spanned(Level::page_2m);
constexpr std::uint64_t pages_1g = pages_spanned(Level::page_1g);
constexpr auto still_there = [] { return true; };

class DeviceTlbSizes : public testing::Test {
protected:
    void fill(std::uint64_t first, std::uint64_t pages, Touch most = Touch::write) {
        tlb_.fill({GfnRange{Gfn{first}, pages}, Hvp{first + 8 * pages_1g}, most}, still_there);
    }
    void flush(std::uint64_t first, std::uint64_t pages) {
        const std::array ranges{GfnRange{Gfn{first}, pages}};
        tlb_.flush(ranges);
    }
    bool holds(std::uint64_t gfn, Touch touch = Touch::read) const {
        return tlb_.lookup(Gfn{gfn}, touch) == Hvp{gfn + 8 * pages_1g};
    }
    DeviceTlb tlb_;
};

TEST_F(DeviceTlbSizes, ALargeTranslationServesEachOfItsPages) {
    fill(3 * pages_2m, pages_2m);
    fill(pages_1g, pages_1g);
    for (const std::uint64_t gfn : {3 * pages_2m, 3 * pages_2m + 77, 4 * pages_2m - 1, pages_1g, 2 * pages_1g - 1}) {
        EXPECT_TRUE(holds(gfn)) << gfn;
    }
    for (const std::uint64_t gfn : {3 * pages_2m - 1, 4 * pages_2m, pages_1g - 1, 2 * pages_1g}) {
        EXPECT_FALSE(tlb_.lookup(Gfn{gfn})) << gfn;
    }
    EXPECT_EQ(tlb_.fills(), 2U);
}

TEST_F(DeviceTlbSizes, AFlushOfAnyPageDropsEverySizeOfIt) {
    for (const std::uint64_t gfn :
         {pages_1g + 5 * pages_2m, pages_1g + 5 * pages_2m + 300, pages_1g + 6 * pages_2m - 1}) {
        fill(pages_1g, pages_1g);
        fill(pages_1g + 5 * pages_2m, pages_2m);
        fill(pages_1g + 6 * pages_2m, pages_2m);
        fill(gfn, 1);
        flush(gfn, 1);
        EXPECT_FALSE(tlb_.lookup(Gfn{gfn})) << gfn;
        EXPECT_FALSE(tlb_.lookup(Gfn{pages_1g + 5 * pages_2m + 9})) << "by the neighbours' translation";
        EXPECT_FALSE(tlb_.lookup(Gfn{2 * pages_1g - 1})) << "nor by the largest";
        EXPECT_TRUE(holds(pages_1g + 6 * pages_2m)) << "the next is its own";
    }
    fill(0, pages_2m);
    flush(pages_2m, 64 * pages_2m);
    EXPECT_TRUE(holds(7));
    flush(pages_2m - 1, 64 * pages_2m);
    EXPECT_FALSE(tlb_.lookup(Gfn{7}));
    fill(0, pages_2m);
    tlb_.flush_all();
    EXPECT_FALSE(tlb_.lookup(Gfn{7}));
}

TEST_F(DeviceTlbSizes, ALargeFillThatMeetsAZapOfOneOfItsPagesIsTakenBack) {
    const DeviceTlb::Translation large{GfnRange{Gfn{0}, pages_2m}, Hvp{0}};
    tlb_.fill(large, [] { return false; });
    EXPECT_FALSE(tlb_.lookup(Gfn{3}));
    tlb_.fill(large, [this] {
        flush(400, 1);
        return true;
    });
    EXPECT_FALSE(tlb_.lookup(Gfn{3}));
}

TEST_F(DeviceTlbSizes, ATranslationPermitsNoMoreThanItsLeaf) {
    fill(0, pages_2m, Touch::read);
    fill(9, 1, Touch::write);
    fill(pages_2m, pages_2m, Touch::write);
    EXPECT_TRUE(holds(5));
    EXPECT_FALSE(tlb_.lookup(Gfn{5}, Touch::write));
    EXPECT_TRUE(holds(9, Touch::write));
    EXPECT_TRUE(holds(pages_2m + 5, Touch::write));
    std::uint64_t seen = 0;
    tlb_.for_each([&](const DeviceTlb::Translation& cached) {
        seen += cached.pages.pages();
        EXPECT_EQ(cached.most == Touch::read, cached.pages.contains(Gfn{0}));
        EXPECT_EQ(cached.first, Hvp{cached.pages.first().value() + 8 * pages_1g});
    });
    EXPECT_EQ(seen, 2 * pages_2m + 1);
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
