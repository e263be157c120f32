#include "shadow-mmu/table/memslots.hpp"

#include <gtest/gtest.h>

namespace penumbra::mmu {
namespace {

class MemslotsTest : public testing::Test {
protected:
    std::vector<GfnRange> guest_ranges(HvpRange host) const {
        std::vector<GfnRange> found;
        slots_.for_each_guest_range(host, [&](GfnRange range) { found.push_back(range); });
        return found;
    }
    // As RAM around the device hole: contiguous in the window, apart in the guest.
    const Memslots slots_{{{GfnRange{Gfn{0}, 100}, Hvp{1000}}, {GfnRange{Gfn{5000}, 50}, Hvp{1100}}}};
};

TEST_F(MemslotsTest, TranslatesBothWays) {
    EXPECT_EQ(slots_.to_host(Gfn{0}), Hvp{1000});
    EXPECT_EQ(slots_.to_host(Gfn{99}), Hvp{1099});
    EXPECT_EQ(slots_.to_host(Gfn{5049}), Hvp{1149});
    EXPECT_EQ(slots_.to_guest(Hvp{1100}), Gfn{5000});
    for (const std::uint64_t gfn : {100U, 4999U, 5050U}) EXPECT_FALSE(slots_.to_host(Gfn{gfn}));
    for (const std::uint64_t page : {999U, 1150U}) EXPECT_FALSE(slots_.to_guest(Hvp{page}));
}

TEST_F(MemslotsTest, CutsRangesAtSlots) {
    EXPECT_EQ(guest_ranges(HvpRange{Hvp{1090}, 20}), (std::vector{GfnRange{Gfn{90}, 10}, GfnRange{Gfn{5000}, 10}}));
    EXPECT_EQ(guest_ranges(HvpRange{Hvp{0}, 5000}), (std::vector{GfnRange{Gfn{0}, 100}, GfnRange{Gfn{5000}, 50}}));
    EXPECT_TRUE(guest_ranges(HvpRange{Hvp{1150}, 10}).empty());
    EXPECT_TRUE(guest_ranges(HvpRange{Hvp{1050}, 0}).empty());
}

TEST_F(MemslotsTest, KnowsItsSize) {
    EXPECT_EQ(slots_.pages(), 150U);
    EXPECT_EQ(slots_.end(), Gfn{5050});
    EXPECT_EQ(Memslots({}).end(), Gfn{0});
}

}  // namespace
}  // namespace penumbra::mmu
