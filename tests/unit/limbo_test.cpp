#include "vmm/memory/limbo.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <random>
#include <thread>

namespace penumbra::vmm {
namespace {

class LimboTest : public testing::Test {
protected:
    static constexpr std::uint32_t slots = 8;

    static std::unique_ptr<Limbo> make() {
        Result<std::unique_ptr<Limbo>> made = Limbo::create(slots);
        PENUMBRA_ASSERT(made.has_value(), "no memory for a test");
        return std::move(*made);
    }
    /// Reserves and fills; page numbers go on from `next_page_`.
    SlotSpan put(std::uint32_t wanted) {
        const SlotSpan span = limbo_->reserve(wanted);
        for (std::uint32_t i = 0; i < span.count; ++i) limbo_->occupy(span.first + i, PageIndex{next_page_++});
        limbo_->commit(span);
        return span;
    }
    static void expect(SlotSpan span, std::uint32_t first, std::uint32_t count) {
        EXPECT_EQ(span.count, count);
        if (count > 0) {
            EXPECT_EQ(span.first, first);
        }
    }

    std::unique_ptr<Limbo> limbo_ = make();
    std::uint32_t next_page_ = 0;
};

TEST_F(LimboTest, EmptyRingHasNothingToClaim) {
    EXPECT_EQ(limbo_->slots(), slots);
    EXPECT_EQ(limbo_->free_slots(), slots);
    EXPECT_EQ(limbo_->claim_oldest(4).count, 0U);
    EXPECT_EQ(limbo_->page_of_slot(3), limbo_->staging().first() + 3);
    EXPECT_FALSE(limbo_->occupant(0));
}

TEST_F(LimboTest, FillsUpAndDrainsInOrder) {
    expect(put(5), 0, 5);
    expect(put(5), 5, 3);
    EXPECT_EQ(limbo_->free_slots(), 0U);
    EXPECT_EQ(limbo_->reserve(1).count, 0U) << "full";
    const SlotSpan first = limbo_->claim_oldest(3);
    expect(first, 0, 3);
    EXPECT_EQ(limbo_->occupant(2), PageIndex{2});
    EXPECT_EQ(limbo_->release(first), 3U);
    EXPECT_FALSE(limbo_->occupant(2));
    const SlotSpan rest = limbo_->claim_oldest(100);
    expect(rest, 3, 5);
    EXPECT_EQ(limbo_->release(rest), 5U);
    EXPECT_EQ(limbo_->used(), 0U);
}

TEST_F(LimboTest, SpansDoNotWrap) {
    put(6);
    (void)limbo_->release(limbo_->claim_oldest(6));
    expect(put(4), 6, 2);
    expect(put(4), 0, 4);
    expect(limbo_->claim_oldest(6), 6, 2);
    expect(limbo_->claim_oldest(6), 0, 4);
}

TEST_F(LimboTest, ReservedSlotsAreNotClaimable) {
    const SlotSpan span = limbo_->reserve(4);
    EXPECT_EQ(limbo_->claim_oldest(4).count, 0U);
    limbo_->occupy(span.first, PageIndex{1});
    limbo_->occupy(span.first + 2, PageIndex{2});
    limbo_->commit(span);
    const SlotSpan claimed = limbo_->claim_oldest(4);
    expect(claimed, 0, 4);
    EXPECT_FALSE(limbo_->occupant(1));
    EXPECT_EQ(limbo_->release(claimed), 2U) << "only two of them held a page";
}

TEST_F(LimboTest, ClaimsMayBeReleasedOutOfOrder) {
    put(8);
    const SlotSpan first = limbo_->claim_oldest(3);
    const SlotSpan second = limbo_->claim_oldest(3);
    EXPECT_EQ(limbo_->release(second), 3U);
    EXPECT_EQ(limbo_->used(), 5U);
    EXPECT_EQ(limbo_->reserve(1).count, 0U) << "the head's slot is still claimed";
    expect(limbo_->claim_oldest(8), 6, 2);
    EXPECT_EQ(limbo_->release(first), 3U);
    expect(put(8), 0, 6);
}

TEST_F(LimboTest, UnclaimedSlotsAreTheOldestAgain) {
    put(6);
    const SlotSpan claimed = limbo_->claim_oldest(4);
    limbo_->unclaim({claimed.first + 1, 2});
    EXPECT_EQ(limbo_->release({claimed.first, 1}), 1U);
    EXPECT_EQ(limbo_->release({claimed.first + 3, 1}), 1U);
    const SlotSpan again = limbo_->claim_oldest(6);
    expect(again, 1, 2);
    EXPECT_EQ(limbo_->occupant(1), PageIndex{1});
    EXPECT_EQ(limbo_->release(again), 2U);
    expect(limbo_->claim_oldest(6), 4, 2);
}

TEST_F(LimboTest, VacatedSlotsAreNotCounted) {
    const SlotSpan span = put(3);
    limbo_->vacate(span.first + 1);
    EXPECT_FALSE(limbo_->occupant(span.first + 1));
    EXPECT_EQ(limbo_->used(), 3U) << "the slot is in use until it is released";
    EXPECT_EQ(limbo_->release(limbo_->claim_oldest(3)), 2U);
}

TEST_F(LimboTest, PageRescuedBeforeTheCommitStaysOut) {
    const SlotSpan span = limbo_->reserve(2);
    limbo_->occupy(span.first, PageIndex{1});
    limbo_->occupy(span.first + 1, PageIndex{2});
    limbo_->vacate(span.first);  // its word said limbo already, and a fault was quick
    limbo_->commit(span);
    EXPECT_FALSE(limbo_->occupant(span.first));
    EXPECT_EQ(limbo_->release(limbo_->claim_oldest(2)), 1U) << "a page would be uncharged twice";
}

TEST_F(LimboTest, WaitsForThePins) {
    put(1);
    limbo_->wait_unpinned(0);
    limbo_->pin(0);
    limbo_->pin(0);
    std::atomic<unsigned> pins{2};
    std::jthread waiter([&] {
        limbo_->wait_unpinned(0);
        EXPECT_EQ(pins.load(), 0U);
    });
    for (unsigned i = 0; i < 2; ++i) {
        std::this_thread::yield();
        --pins;
        limbo_->unpin(0);
    }
}

// Spans in random sizes, claims given back in random order: nothing is lost, and pages come out in the order they went
// in.
TEST_F(LimboTest, IsAQueueWithHoles) {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        std::mt19937_64 random(seed);
        limbo_ = make();
        next_page_ = 0;
        std::uint32_t next_out = 0;
        std::vector<SlotSpan> claims;
        std::uint32_t in_use = 0;
        for (unsigned step = 0; step < 60; ++step) {
            const auto wanted = static_cast<std::uint32_t>(1 + random() % 5);
            if (const auto kind = random() % 3; kind == 0) {
                in_use += put(wanted).count;
            } else if (kind == 1) {
                const SlotSpan claimed = limbo_->claim_oldest(wanted);
                for (std::uint32_t i = 0; i < claimed.count; ++i) {
                    ASSERT_EQ(limbo_->occupant(claimed.first + i), PageIndex{next_out++});
                }
                if (claimed.count > 0) claims.push_back(claimed);
            } else if (!claims.empty()) {
                std::swap(claims[random() % claims.size()], claims.back());
                ASSERT_EQ(limbo_->release(claims.back()), claims.back().count);
                in_use -= claims.back().count;
                claims.pop_back();
            }
            ASSERT_EQ(limbo_->used(), in_use);
        }
        for (const SlotSpan& span : claims) (void)limbo_->release(span);
        for (SlotSpan rest = limbo_->claim_oldest(8); rest.count > 0; rest = limbo_->claim_oldest(8)) {
            next_out += limbo_->release(rest);
        }
        ASSERT_EQ(limbo_->used(), 0U);
        ASSERT_EQ(next_out, next_page_);
        ASSERT_GT(limbo_->reserve(8).count, 0U) << "an empty ring takes pages";
    }
}

using LimboDeathTest = LimboTest;

TEST_F(LimboDeathTest, MisuseStopsTheProcess) {
    const SlotSpan span = put(2);
    EXPECT_DEATH((void)limbo_->release(span), "release of a slot that was not claimed");
    EXPECT_DEATH(limbo_->unclaim(span), "unclaim of a slot that was not claimed");
    EXPECT_DEATH(limbo_->commit(span), "commit of a slot that was not reserved");
    EXPECT_DEATH(limbo_->unpin(0), "slot unpinned twice");
}

}  // namespace
}  // namespace penumbra::vmm
