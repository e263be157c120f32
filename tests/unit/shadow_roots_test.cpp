// Roots, quota, hostile shapes, the host's events and the end.
#include <gtest/gtest.h>

#include "tests/support/shadow_world.hpp"

namespace penumbra::test {
namespace {

using mmu::ShadowOutcome;

const Gva origin = gva(0, 0, 0, 0);

/// Roots 1, 2 and so on, each with tables of its own below, to page 32 and so on.
void build_roots(ShadowWorld& world, std::uint64_t roots) {
    for (std::uint64_t root = 0; root < roots; ++root) {
        for (std::uint64_t level = 0; level < 3; ++level) {
            const std::uint64_t lower = 10 + 3 * root + level;
            world.store(level == 0 ? 1 + root : lower - 1, 0, entry_to(lower));
        }
        world.store(12 + 3 * root, 0, entry_to(40 + root));
    }
}

TEST(ShadowRoots, ALeftRootStaysWatchedAndIsUsedAgainAtOnce) {
    ShadowWorld world;
    build_roots(world, 2);
    const std::size_t context = world.open(1);
    ASSERT_EQ(world.touch(context, origin, user_read).page, Gfn{40});
    world.set_root(context, 2, {});
    EXPECT_FALSE(world.table.access(world.id(context), origin, user_read));
    ASSERT_EQ(world.touch(context, origin, user_read).page, Gfn{41});
    EXPECT_EQ(world.table.watched_tables(), 8U);
    world.set_root(context, 1, {});
    EXPECT_TRUE(world.table.access(world.id(context), origin, user_read)) << "no fault needed";
    world.set_root(context, 2, {});
    world.store(12, 0, entry_to(50));  // of root 1, which is only cached
    world.set_root(context, 1, {});
    EXPECT_FALSE(world.table.access(world.id(context), origin, user_read));
    EXPECT_EQ(world.touch(context, origin, user_read).page, Gfn{50});
    EXPECT_EQ(world.check(), "");
}

TEST(ShadowRoots, FewRootsAreCached) {
    ShadowWorldOptions options;
    options.limits.cached_roots = 2;
    ShadowWorld world(options);
    build_roots(world, 6);
    const std::size_t context = world.open(1);
    for (std::uint64_t root = 1; root <= 6; ++root) {
        world.set_root(context, root, {});
        ASSERT_EQ(world.touch(context, origin, user_read).page, Gfn{39 + root});
    }
    EXPECT_EQ(world.table.shadow_pages(), 12U);
    EXPECT_EQ(world.memory.protected_pages(), 12U);
    EXPECT_EQ(world.check(), "");
}

TEST(ShadowRoots, TheOldestGoWhenTheQuotaIsFull) {
    ShadowWorldOptions options;
    options.limits.pages = 16;
    ShadowWorld world(options);
    build_roots(world, 8);
    std::vector<std::size_t> contexts;
    for (std::uint64_t root = 1; root <= 8; ++root) contexts.push_back(world.open(root));
    for (unsigned round = 0; round < 3; ++round) {
        for (std::uint64_t i = 0; i < contexts.size(); ++i) {
            ASSERT_EQ(world.touch(contexts[i], origin, user_read).page, Gfn{40 + i});
            ASSERT_EQ(world.check(), "");
        }
    }
    EXPECT_LE(world.table.shadow_pages(), 16U);
    EXPECT_GT(world.table.stats().evicted.get(), 0U);
}

TEST(ShadowRoots, AsManyContextsAsThereAre) {
    ShadowWorld world;
    for (std::size_t i = 0; i < mmu::ShadowTable::most_contexts; ++i) (void)world.open(1);
    EXPECT_FALSE(world.table.open_context({.root = Gpa{0}, .mode = {}}));
    world.close(5);
    EXPECT_TRUE(world.table.open_context({.root = Gpa{0}, .mode = {}}));
}

TEST(ShadowHostile, TablesOfNothingButThemselvesCostAFullFlush) {
    ShadowWorld world;
    for (std::uint64_t i = 0; i < 512; ++i) world.store(1, i, entry_to(1));
    const std::size_t context = world.open(1);
    for (std::uint64_t i = 0; i < 40; ++i) {
        (void)world.touch(context, gva(i, i / 2, i / 3, i), user_read);
    }
    EXPECT_EQ(world.check(), "");
    EXPECT_LE(world.table.shadow_pages(), 5U);
    world.evict(Gfn{1});
    EXPECT_EQ(world.check(), "");
    EXPECT_GT(world.tlb.full_flushes(), 0U);
}

TEST(ShadowHostile, AFloodOfWritesEndsATablesShadow) {
    ShadowWorld world;
    build_roots(world, 1);
    const std::size_t context = world.open(1);
    ASSERT_EQ(world.touch(context, origin, user_read).page, Gfn{40});
    // Each time the table is watched, the guest writes before the device gets to use it.
    unsigned writes = 0;
    world.memory.on_read = [&] {
        if (world.memory.is_protected(Gfn{12}) && writes < 3) {
            ++writes;
            world.store(12, 0, entry_to(40 + writes));
        }
    };
    world.store(12, 0, entry_to(50));
    EXPECT_EQ(world.touch(context, origin, user_read).page, Gfn{43});
    EXPECT_EQ(writes, 3U);
    EXPECT_GT(world.table.stats().floods.get(), 0U);
    EXPECT_EQ(world.check(), "");
}

TEST(ShadowHost, ALeavingPageTakesItsTranslationsAndALeavingTableWhatItSaid) {
    ShadowWorld world;
    build_roots(world, 1);
    const std::size_t context = world.open(1);
    for (const Gfn leaving : {Gfn{40}, Gfn{12}, Gfn{10}, Gfn{1}}) {
        ASSERT_EQ(world.touch(context, origin, user_read).page, Gfn{40});
        world.evict(leaving);
        EXPECT_FALSE(world.table.access(world.id(context), origin, user_read));
        EXPECT_FALSE(world.memory.is_protected(leaving));
        ASSERT_EQ(world.check(), "");
    }
}

TEST(ShadowHost, AnEventThatMayNotBlockMeetsAnAccessInFlight) {
    ShadowWorld world;
    build_roots(world, 1);
    const std::size_t context = world.open(1);
    ASSERT_TRUE(world.touch(context, origin, user_read).page);
    auto held = world.table.access(world.id(context), origin, user_read);
    ASSERT_TRUE(held);
    bridge::InvalidationEvent event;
    event.reason = bridge::Reason::swap_out;
    event.blockable = bridge::Blockable::no;
    event.ranges.add({held->page, 1});
    EXPECT_FALSE(bridge::Invalidation(world.space, event).started());
    held.reset();
    EXPECT_TRUE(world.table.access(world.id(context), origin, user_read)) << "nothing changed";
    EXPECT_TRUE(bridge::Invalidation(world.space, event).started());
    EXPECT_EQ(world.check(), "");
}

TEST(ShadowHost, AReleasedTableMapsNothing) {
    ShadowWorld world;
    build_roots(world, 1);
    const std::size_t context = world.open(1);
    ASSERT_TRUE(world.touch(context, origin, user_read).page);
    world.space.release();
    EXPECT_EQ(world.table.shadow_pages(), 0U);
    EXPECT_EQ(world.memory.protected_pages(), 0U);
    EXPECT_FALSE(world.table.access(world.id(context), origin, user_read));
    EXPECT_EQ(world.table.fault(world.id(context), origin, user_read).outcome, ShadowOutcome::denied);
}

TEST(ShadowHost, ATableThatCannotBeWatchedIsRefused) {
    ShadowWorld world;
    build_roots(world, 1);
    world.memory.refuse.insert(Gfn{11});
    const std::size_t context = world.open(1);
    EXPECT_EQ(world.touch(context, origin, user_read).answer.outcome, ShadowOutcome::refused);
    EXPECT_EQ(world.memory.protected_pages(), 0U) << "the others are not watched for nothing";
    EXPECT_EQ(world.check(), "");
}

}  // namespace
}  // namespace penumbra::test
