// The shadow table's share of docs/invariants.md that no other test holds.
#include <gtest/gtest.h>

#include <utility>

#include "tests/support/shadow_world.hpp"

namespace penumbra::test::invariants {
namespace {

using mmu::Announces;
using mmu::Tracking;

const Gva start = gva(0, 0, 0, 0);

/// Root 1 leads by tables 10, 11 and 12 to page 40, root 2 by 13, 14 and 15 to page `second`.
class InvariantsShadow : public testing::Test {
protected:
    void build(std::uint64_t second) {
        for (std::uint64_t root = 0; root < 2; ++root) {
            const std::uint64_t lower = 10 + 3 * root;
            world.store(1 + root, 0, entry_to(lower));
            world.store(lower, 0, entry_to(lower + 1));
            world.store(lower + 1, 0, entry_to(lower + 2));
            world.store(lower + 2, 0, entry_to(root == 0 ? 40 : second));
        }
    }
    std::optional<Gfn> reach(std::size_t context) { return world.touch(context, start, user_read).page; }
    bool maps(std::size_t context) { return world.table.access(world.id(context), start, user_read).has_value(); }
    /// After so many reads of entries by the table.
    template <class Fn>
    void after_reads(unsigned reads, Fn&& fn) {
        world.memory.on_read = [this, reads, fn, seen = 0U]() mutable {
            if (++seen != reads) return;
            const auto keep = std::exchange(world.memory.on_read, nullptr);  // which holds what runs
            fn();
        };
    }

    ShadowWorld world;
};

TEST_F(InvariantsShadow, TheHostReachesWhatHangsBelowALeftRoot) {
    build(40);
    const std::size_t context = world.open(1);
    ASSERT_EQ(reach(context), Gfn{40});
    world.set_root(context, 2, {});
    ASSERT_EQ(reach(context), Gfn{40});
    world.set_root(context, 1, {});
    ASSERT_TRUE(maps(context));
    world.evict(Gfn{40});
    EXPECT_FALSE(maps(context));
    world.set_root(context, 2, {});
    EXPECT_FALSE(maps(context)) << "its root was left when the page went";
    EXPECT_EQ(world.check(), "");
}

TEST_F(InvariantsShadow, AFaultOfTheRootThatWasLeftInstallsNothing) {
    build(41);
    const std::size_t context = world.open(1);
    after_reads(2, [&] { world.set_root(context, 2, {}); });
    (void)world.table.fault(world.id(context), start, user_read);
    EXPECT_EQ(world.check(), "");
    EXPECT_EQ(reach(context), Gfn{41});
}

TEST_F(InvariantsShadow, AModeOfItsOwnHasShadowsOfItsOwn) {
    build(41);
    mmu::PagingMode other;
    other.no_execute = !other.no_execute;
    ASSERT_EQ(reach(world.open(1)), Gfn{40});
    ASSERT_EQ(reach(world.open(1)), Gfn{40});
    EXPECT_EQ(world.table.shadow_pages(), 4U) << "all that counts is equal: shared";
    ASSERT_EQ(reach(world.open({.root = Gpa{page_bytes}, .mode = other})), Gfn{40});
    EXPECT_EQ(world.table.shadow_pages(), 8U);
    EXPECT_EQ(world.check(), "");
}

TEST_F(InvariantsShadow, AWriteGoesOnWhenNothingIsLeftOfWhatItChanges) {
    build(41);
    const std::size_t context = world.open(1);
    ASSERT_EQ(reach(context), Gfn{40});
    ASSERT_TRUE(maps(context));
    unsigned let_through = 0, left = 0;
    world.memory.on_unwatch = [&](std::span<const Gfn>) {
        ++let_through;
        left +=
            static_cast<unsigned>(world.table.translations(world.id(context), 8).size() + world.tlb.snapshot().size());
    };
    world.store(12, 0, entry_to(42));
    world.memory.on_unwatch = nullptr;
    EXPECT_GT(let_through, 0U);
    EXPECT_EQ(left, 0U);
    EXPECT_EQ(reach(context), Gfn{42});
}

TEST_F(InvariantsShadow, AFaultThatBeganBeforeAnAnnouncementInstallsNothing) {
    build(41);
    world.memory.keeps_history = true;
    const std::size_t context = world.open({Gpa{page_bytes}, {}, Announces::yes, Tracking::cooperative});
    after_reads(4, [&] {
        world.store(12, 0, entry_to(42));
        world.announce(context);
    });
    (void)world.table.fault(world.id(context), start, user_read);
    EXPECT_EQ(reach(context), Gfn{42});
    EXPECT_EQ(world.check(), "");
}

TEST_F(InvariantsShadow, ASharedTableKnowsAllItsParents) {
    build(41);
    world.store(1, 1, entry_to(10));  // a second way to all that is below
    const std::size_t context = world.open(1);
    ASSERT_EQ(reach(context), Gfn{40});
    ASSERT_EQ(world.touch(context, gva(1, 0, 0, 0), user_read).page, Gfn{40});
    EXPECT_EQ(world.table.shadow_pages(), 4U);
    EXPECT_EQ(world.check(), "");
    world.store(12, 0, entry_to(42));
    EXPECT_FALSE(maps(context));
    EXPECT_FALSE(world.table.access(world.id(context), gva(1, 0, 0, 0), user_read)) << "flushed by both ways";
}

TEST_F(InvariantsShadow, NobodyTranslatesByWhatWasDropped) {
    build(41);
    const std::size_t first = world.open(1), second = world.open(2);
    ASSERT_EQ(reach(first), Gfn{40});
    ASSERT_EQ(reach(second), Gfn{41});
    world.table.drop_everything();
    EXPECT_EQ(world.table.shadow_pages(), 0U);
    EXPECT_EQ(world.memory.protected_pages(), 0U);
    EXPECT_FALSE(maps(first) || maps(second));
    world.evict(Gfn{40});
    EXPECT_EQ(reach(first), Gfn{40}) << "contexts stay";
    EXPECT_EQ(world.check(), "");
}

}  // namespace
}  // namespace penumbra::test::invariants
