#include "shadow-mmu/shadow/shadow_table.hpp"

#include <gtest/gtest.h>

#include "tests/support/shadow_world.hpp"

namespace penumbra::test {
namespace {

using mmu::ShadowOutcome;
namespace bit = mmu::guest_entry;

/// Tables 1 to 4, one below the other, and page 32 below entry 0 of table 4.
class ShadowTable : public testing::Test {
protected:
    ShadowTable() {
        for (std::uint64_t page = 1; page <= 3; ++page) world.store(page, 0, entry_to(page + 1));
        world.store(4, 0, entry_to(32));
    }
    ~ShadowTable() override { EXPECT_EQ(world.check(), ""); }
    std::optional<Gfn> reach(std::size_t context, Gva address, mmu::GuestAccess access) {
        return world.touch(context, address, access).page;
    }

    ShadowWorld world;
};

const Gva origin = gva(0, 0, 0, 0);

TEST_F(ShadowTable, WatchesTheTablesThatItMapsBy) {
    const std::size_t context = world.open(1);
    EXPECT_EQ(reach(context, origin, user_write), Gfn{32});
    EXPECT_EQ(world.table.watched_tables(), 4U);
    EXPECT_EQ(world.memory.watch_calls(), 1U) << "the tables of one fault are watched by one call";
    EXPECT_EQ(world.table.fault(world.id(context), origin, user_write).outcome, ShadowOutcome::spurious);
}

TEST_F(ShadowTable, FollowsTheGuestsStores) {
    const std::size_t context = world.open(1);
    ASSERT_EQ(reach(context, origin, user_write), Gfn{32});
    world.store(4, 0, entry_to(33));
    EXPECT_FALSE(world.memory.is_protected(Gfn{4})) << "the guest goes on";
    EXPECT_TRUE(world.memory.is_protected(Gfn{3}));
    EXPECT_FALSE(world.table.access(world.id(context), origin, user_read));
    EXPECT_EQ(reach(context, origin, user_write), Gfn{33});
    world.store(2, 0, 0);
    EXPECT_EQ(world.table.watched_tables(), 1U) << "what hung below the rewritten table is not watched any more";
    EXPECT_FALSE(reach(context, origin, user_read));
}

TEST_F(ShadowTable, AnswersWhatTheProcessorWould) {
    world.store(4, 1, entry_to(33, bit::present | bit::user | bit::accessed));
    const std::size_t context = world.open(1);
    EXPECT_EQ(reach(context, gva(0, 0, 0, 1), user_read), Gfn{33});
    const mmu::ShadowAnswer write = world.table.fault(world.id(context), gva(0, 0, 0, 1), user_write);
    EXPECT_EQ(write.outcome, ShadowOutcome::guest_fault);
    EXPECT_EQ(write.guest.error_code, mmu::page_fault::present | mmu::page_fault::write | mmu::page_fault::user);
    EXPECT_EQ(write.guest.address, gva(0, 0, 0, 1));
    const mmu::ShadowAnswer absent = world.table.fault(world.id(context), gva(0, 0, 0, 2), kernel_read);
    EXPECT_EQ(absent.outcome, ShadowOutcome::guest_fault);
    EXPECT_EQ(absent.guest.error_code, 0U);
    const Gva hole{std::uint64_t{1} << 47};
    EXPECT_EQ(world.table.fault(world.id(context), hole, user_read).outcome, ShadowOutcome::bad_address);
    world.store(4, 3, entry_to(100));
    EXPECT_EQ(world.touch(context, gva(0, 0, 0, 3), user_read).answer.outcome, ShadowOutcome::not_ram);
    EXPECT_EQ(world.table.fault(mmu::ContextId{9}, origin, user_read).outcome, ShadowOutcome::no_context);
}

TEST_F(ShadowTable, AsksForAbsentPages) {
    const std::size_t context = world.open(1);
    world.evict(Gfn{3});
    world.evict(Gfn{32});
    for (const Gfn wanted : {Gfn{3}, Gfn{32}}) {
        const mmu::ShadowAnswer answer = world.table.fault(world.id(context), origin, user_write);
        ASSERT_EQ(answer.outcome, ShadowOutcome::pages_wanted);
        ASSERT_EQ(answer.wanted().size(), 1U);
        EXPECT_EQ(answer.wanted()[0].gfn, wanted);
        world.put_in(wanted);
    }
    EXPECT_EQ(world.table.fault(world.id(context), origin, user_write).outcome, ShadowOutcome::installed);
}

TEST_F(ShadowTable, OneTableBelowTwoParentsHasOneShadowForEachOfTheirRights) {
    world.store(1, 1, entry_to(2, open_entry & ~bit::writable));
    world.store(1, 2, entry_to(2));
    const std::size_t context = world.open(1);
    ASSERT_EQ(reach(context, origin, user_write), Gfn{32});
    EXPECT_EQ(world.table.shadow_pages(), 4U);
    ASSERT_EQ(reach(context, gva(1, 0, 0, 0), user_read), Gfn{32});
    EXPECT_EQ(world.table.shadow_pages(), 7U);
    EXPECT_FALSE(reach(context, gva(1, 0, 0, 0), user_write));
    ASSERT_EQ(reach(context, gva(2, 0, 0, 0), user_write), Gfn{32});
    EXPECT_EQ(world.table.shadow_pages(), 7U) << "the same rights share";
    EXPECT_EQ(world.table.watched_tables(), 4U);
    // Unlinking one parent leaves the others' translations alone.
    world.store(1, 0, 0);
    EXPECT_EQ(reach(context, gva(2, 0, 0, 0), user_write), Gfn{32});
}

TEST_F(ShadowTable, MapsALargePageInPieces) {
    world.store(3, 1, entry_to(512, dirty_entry | bit::page_size));
    const std::size_t context = world.open(1);
    EXPECT_EQ(reach(context, gva(0, 0, 1, 0), user_write), Gfn{512});
    EXPECT_EQ(reach(context, gva(0, 0, 1, 300), user_write), Gfn{812});
    EXPECT_EQ(world.table.watched_tables(), 3U);
    world.store(3, 1, entry_to(512, (dirty_entry | bit::page_size) & ~bit::writable));
    EXPECT_FALSE(reach(context, gva(0, 0, 1, 300), user_write));
    EXPECT_EQ(reach(context, gva(0, 0, 1, 300), user_read), Gfn{812});
}

TEST_F(ShadowTable, ALargePageOverMoreThanRamIsMappedWhereThereIsRam) {
    world.store(2, 1, entry_to(0, dirty_entry | bit::page_size));
    const std::size_t context = world.open(1);
    EXPECT_EQ(reach(context, gva(0, 1, 0, 40), user_read), Gfn{40});
    EXPECT_EQ(reach(context, gva(0, 1, 1, 7), user_read), Gfn{519});
    EXPECT_EQ(world.touch(context, gva(0, 1, 2, 0), user_read).answer.outcome, ShadowOutcome::not_ram);
}

TEST_F(ShadowTable, ASupervisorWritesAReadOnlyPageWithoutWriteProtection) {
    world.store(4, 0, entry_to(32, dirty_entry & ~bit::writable));
    mmu::PagingMode mode;
    mode.write_protect = false;
    const std::size_t context = world.open({.root = Gpa{page_bytes}, .mode = mode});
    EXPECT_EQ(reach(context, origin, kernel_write), Gfn{32});
    EXPECT_FALSE(world.table.access(world.id(context), origin, user_read)) << "the leaf is the supervisor's now";
    EXPECT_EQ(reach(context, origin, user_read), Gfn{32});
    EXPECT_FALSE(reach(context, origin, user_write));
    EXPECT_EQ(reach(context, origin, kernel_write), Gfn{32});
}

TEST_F(ShadowTable, ALeafIsWritableOnceTheGuestsEntryIsDirty) {
    for (const mmu::OwnWrites own : {mmu::OwnWrites::break_watch, mmu::OwnWrites::pass}) {
        world.memory.own = own;
        world.store(4, 0, entry_to(32, open_entry & ~bit::accessed));
        const std::size_t context = world.open(1);
        ASSERT_EQ(reach(context, origin, user_read), Gfn{32});
        EXPECT_EQ(world.memory.word(ShadowMemory::at(4, 0)), entry_to(32, open_entry));
        EXPECT_FALSE(world.table.access(world.id(context), origin, user_write));
        ASSERT_EQ(reach(context, origin, user_write), Gfn{32});
        EXPECT_EQ(world.memory.word(ShadowMemory::at(4, 0)), entry_to(32, dirty_entry));
        world.store(4, 0, entry_to(32, open_entry));
        EXPECT_FALSE(world.table.access(world.id(context), origin, user_write)) << "cleaned";
        EXPECT_EQ(world.memory.stale_writes(), 0U);
        world.close(context);
        EXPECT_EQ(world.memory.protected_pages(), 0U);
    }
}

TEST_F(ShadowTable, ATableThatMapsItselfIsNotWrittenForADevice) {
    world.store(4, 1, entry_to(4));
    const std::size_t context = world.open(1);
    EXPECT_EQ(reach(context, gva(0, 0, 0, 1), user_read), Gfn{4});
    EXPECT_EQ(world.touch(context, gva(0, 0, 0, 1), user_write).answer.outcome, ShadowOutcome::own_table);
}

TEST_F(ShadowTable, ADevicesWriteToAnothersTableEndsItsWatch) {
    world.store(5, 0, entry_to(6));
    world.store(6, 0, entry_to(7));
    world.store(7, 0, entry_to(8));
    world.store(8, 0, entry_to(4));
    const std::size_t mapped = world.open(1), writer = world.open(5);
    ASSERT_EQ(reach(mapped, origin, user_read), Gfn{32});
    ASSERT_EQ(reach(writer, origin, user_write), Gfn{4});
    EXPECT_FALSE(world.memory.is_protected(Gfn{4}));
    world.memory.device_store(ShadowMemory::at(4, 0), entry_to(34));
    ASSERT_EQ(reach(mapped, origin, user_read), Gfn{34});
    EXPECT_FALSE(world.table.access(world.id(writer), origin, user_write)) << "a watched table has no writable leaf";
}

TEST_F(ShadowTable, TranslatesThroughFiveLevels) {
    world.store(9, 0, entry_to(1));
    mmu::PagingMode mode;
    mode.top = Level::top_5;
    const std::size_t context = world.open({.root = Gpa{9 * page_bytes}, .mode = mode});
    const std::size_t below = world.open(1);
    EXPECT_EQ(reach(context, origin, user_write), Gfn{32});
    EXPECT_EQ(reach(below, origin, user_write), Gfn{32});
    EXPECT_EQ(world.table.shadow_pages(), 5U) << "a table is shadowed alike below a root and as one";
    world.store(4, 0, 0);
}

}  // namespace
}  // namespace penumbra::test
