// Contexts whose guest announces changes; and who gets a page that guest and device both want.
#include <gtest/gtest.h>

#include "tests/support/shadow_world.hpp"

namespace penumbra::test {
namespace {

using mmu::Announces;
using mmu::ShadowOutcome;
using mmu::Tracking;

class ShadowAnnounce : public testing::Test {
protected:
    ShadowAnnounce() {
        for (std::uint64_t page = 1; page <= 3; ++page) world.store(page, 0, entry_to(page + 1));
        for (std::uint64_t i = 0; i < 4; ++i) world.store(4, i, entry_to(32 + i));
        world.memory.keeps_history = true;
    }
    ~ShadowAnnounce() override { EXPECT_EQ(world.check(), ""); }
    std::size_t open(Tracking tracking) { return world.open({Gpa{page_bytes}, {}, Announces::yes, tracking}); }
    std::optional<Gfn> reach(std::size_t context, std::uint64_t i) {
        return world.touch(context, gva(0, 0, 0, i), user_read).page;
    }
    ShadowWorld world;
};

TEST_F(ShadowAnnounce, WhatIsWatchedDependsOnTheTracking) {
    EXPECT_EQ(reach(open(Tracking::cooperative), 0), Gfn{32});
    EXPECT_EQ(world.table.watched_tables(), 0U);
    EXPECT_EQ(reach(open(Tracking::unsync_leaves), 0), Gfn{32});
    EXPECT_EQ(world.table.watched_tables(), 3U);
    EXPECT_FALSE(world.memory.is_protected(Gfn{4}));
    EXPECT_EQ(reach(open(Tracking::watched), 0), Gfn{32});
    EXPECT_EQ(world.table.watched_tables(), 4U);
}

TEST_F(ShadowAnnounce, AContextThatDoesNotAnnounceIsWatched) {
    const std::size_t context = world.open({Gpa{page_bytes}, {}, Announces::no, Tracking::cooperative});
    EXPECT_EQ(world.table.tracking_of(world.id(context)), Tracking::watched);
}

TEST_F(ShadowAnnounce, ChangesCountFromTheAnnouncementOn) {
    for (const Tracking tracking : {Tracking::cooperative, Tracking::unsync_leaves}) {
        const std::size_t context = open(tracking);
        for (std::uint64_t i = 0; i < 4; ++i) ASSERT_EQ(reach(context, i), Gfn{32 + i});
        world.store(4, 1, entry_to(50));
        world.store(4, 2, entry_to(51));
        EXPECT_EQ(reach(context, 1), Gfn{33}) << "stale, as it may be";
        world.announce(context, {mmu::Gvp{1}, 1});
        EXPECT_EQ(reach(context, 1), Gfn{50});
        EXPECT_EQ(reach(context, 2), Gfn{34}) << "not announced yet";
        const std::uint64_t faults = world.table.stats().faults.get();
        world.announce(context);
        EXPECT_EQ(reach(context, 0), Gfn{32});
        EXPECT_EQ(world.table.stats().faults.get(), faults) << "what did not change stayed";
        EXPECT_EQ(reach(context, 2), Gfn{51});
        world.close(context);
        for (std::uint64_t i = 0; i < 4; ++i) world.store(4, i, entry_to(32 + i));
    }
}

TEST_F(ShadowAnnounce, AnUpperTablesChangeNeedsAnAnnouncementOnlyWhereItIsNotWatched) {
    const std::size_t leaves = open(Tracking::unsync_leaves), nothing = open(Tracking::cooperative);
    ASSERT_TRUE(reach(leaves, 0));
    ASSERT_TRUE(reach(nothing, 0));
    world.store(3, 0, 0);
    EXPECT_FALSE(reach(leaves, 0));
    EXPECT_TRUE(reach(nothing, 0));
    world.announce(nothing, {mmu::Gvp{3}, 1});  // any page below the entry tells of it
    EXPECT_FALSE(reach(nothing, 0));
}

TEST_F(ShadowAnnounce, ASwitchOfRootsAnnounces) {
    const std::size_t context = open(Tracking::cooperative);
    ASSERT_EQ(reach(context, 0), Gfn{32});
    world.set_root(context, 5, {});
    world.store(4, 0, entry_to(50));
    world.set_root(context, 1, {});
    EXPECT_EQ(reach(context, 0), Gfn{50});
}

class ShadowSlices : public ShadowAnnounce {
protected:
    /// How long the device waits after the guest wrote the table.
    std::chrono::microseconds wait_after_write(std::size_t context) {
        world.store(4, 0, entry_to(32));
        const mmu::ShadowAnswer answer = world.table.fault(world.id(context), gva(0, 0, 0, 0), user_read);
        if (answer.outcome != ShadowOutcome::wait) return {};
        const auto wait = std::chrono::duration_cast<std::chrono::microseconds>(answer.wait_until - world.now());
        world.pass(wait);
        EXPECT_EQ(world.table.fault(world.id(context), gva(0, 0, 0, 0), user_read).outcome, ShadowOutcome::installed);
        return wait;
    }
};

TEST_F(ShadowSlices, TheWaitDoublesToFiveMillisecondsAndEndsWithCalm) {
    const std::size_t context = world.open(1);
    ASSERT_TRUE(reach(context, 0));
    for (const unsigned expected : {100U, 200U, 400U, 800U, 1600U, 3200U, 5000U, 5000U}) {
        EXPECT_EQ(wait_after_write(context).count(), expected);
    }
    world.pass(std::chrono::milliseconds{51});
    EXPECT_EQ(wait_after_write(context).count(), 100);
}

TEST_F(ShadowSlices, AContextThatAnnouncesGivesUpWatching) {
    const std::size_t quiet = open(Tracking::watched), silent = world.open(1);
    ASSERT_TRUE(reach(quiet, 0));
    ASSERT_TRUE(reach(silent, 0));
    for (unsigned i = 0; i < 70; ++i) {
        world.store(4, 0, entry_to(32 + i % 8));
        ASSERT_TRUE(reach(quiet, 0));
        ASSERT_TRUE(reach(silent, 0));
    }
    EXPECT_EQ(world.table.tracking_of(world.id(quiet)), Tracking::cooperative);
    EXPECT_EQ(world.table.tracking_of(world.id(silent)), Tracking::watched);
    EXPECT_EQ(world.table.stats().cooperative.get(), 1U);
    world.announce(quiet);
    EXPECT_EQ(reach(quiet, 0), reach(silent, 0));
}

TEST(WatchSlices, RemembersSoManyPages) {
    mmu::ProgressLimits limits;
    limits.remembered = 8;
    mmu::WatchSlices slices(limits);
    const mmu::ShadowTime now{std::chrono::seconds{1}};
    for (std::uint64_t page = 0; page < 100; ++page) slices.written(Gfn{page}, now);
    EXPECT_EQ(slices.remembered(), 8U);
    EXPECT_TRUE(slices.wait_until(Gfn{99}, now));
    EXPECT_FALSE(slices.wait_until(Gfn{0}, now));
}

}  // namespace
}  // namespace penumbra::test
