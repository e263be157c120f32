#include "notifier-bridge/source/scripted_source.hpp"

#include <gtest/gtest.h>

#include <utility>

namespace penumbra::bridge {
namespace {

/// Writes down the first pages of what starts and ends, and takes the second page of each swap_out.
struct Taker : Subscriber {
    [[nodiscard]] std::string_view name() const override { return "taker"; }
    [[nodiscard]] SubscriberOrder order() const override { return SubscriberOrder::ept; }
    [[nodiscard]] StartResult invalidate_start(const InvalidationEvent& event) override {
        if (refuses) return StartResult::would_block;
        started.push_back(event.ranges.ranges().front().first());
        if (event.staging != nullptr) {
            slots.assign(event.staging->slots.begin(), event.staging->slots.end());
            event.staging->outcomes[1] = TakeOut::taken;
        }
        return StartResult::done;
    }
    void invalidate_end(const InvalidationEvent& event) override {
        ended.push_back(event.ranges.ranges().front().first());
    }
    void release() override {}

    bool refuses = false;
    std::vector<Hvp> started;
    std::vector<Hvp> ended;
    std::vector<Hvp> slots;
};

class ScriptedSourceTest : public testing::Test {
protected:
    static InvalidationEvent event_of(Reason reason, std::uint64_t first, std::uint64_t pages) {
        InvalidationEvent event;
        event.reason = reason;
        event.blockable = Blockable::no;
        event.ranges.add(HvpRange{Hvp{first}, pages});
        return event;
    }
    Taker taker_;
    AddressSpace space_;
    Subscription subscription_ = space_.subscribe(taker_);
};

TEST_F(ScriptedSourceTest, EndsInAnyOrderAndTheRestNewestFirst) {
    {
        ScriptedSource source(space_);
        const auto first = source.begin(event_of(Reason::discard, 1, 10));
        const auto second = source.begin(event_of(Reason::unmap, 2, 1));
        const auto third = source.begin(event_of(Reason::discard, 3, 1));
        ASSERT_TRUE(first && second && third);
        EXPECT_EQ(source.event(*first).ranges.pages(), 10U);
        EXPECT_TRUE(source.outcomes(*first).empty());
        source.end(*second);
        EXPECT_EQ(source.open(), 2U);
    }
    EXPECT_EQ(taker_.started, (std::vector{Hvp{1}, Hvp{2}, Hvp{3}}));
    EXPECT_EQ(taker_.ended, (std::vector{Hvp{2}, Hvp{3}, Hvp{1}}));
}

TEST_F(ScriptedSourceTest, GivesSwapOutsTheirStaging) {
    ScriptedSource source(space_);
    const auto ticket = source.begin(event_of(Reason::swap_out, 7, 3), Hvp{100});
    ASSERT_TRUE(ticket);
    EXPECT_EQ(taker_.slots, (std::vector{Hvp{100}, Hvp{101}, Hvp{102}}));
    EXPECT_EQ(source.outcomes(*ticket)[1], TakeOut::taken);
    EXPECT_EQ(source.outcomes(*ticket)[2], TakeOut::absent);
}

TEST_F(ScriptedSourceTest, RefusedBracketsAreNotOpen) {
    ScriptedSource source(space_);
    taker_.refuses = true;
    EXPECT_FALSE(source.begin(event_of(Reason::discard, 1, 1)));
    EXPECT_EQ(source.open(), 0U);
    EXPECT_EQ(space_.stats().would_block.get(), 1U);
}

TEST_F(ScriptedSourceTest, EndingWhatIsNotOpenStopsTheProcess) {
    ScriptedSource source(space_);
    EXPECT_DEATH(source.end(ScriptedSource::Ticket{0}), "a scripted bracket that is not open");
}

}  // namespace
}  // namespace penumbra::bridge
