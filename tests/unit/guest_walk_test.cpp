// Single walks over tables that a guest may well have: circles, holes, and changes at the worst moment.
#include "shadow-mmu/guest_walk/guest_walk.hpp"

#include <gtest/gtest.h>

#include "shadow-mmu/guest_walk/walk_bugs.hpp"
#include "tests/support/walk_memory.hpp"

namespace penumbra::mmu::guest_walk_test {
namespace {

using Memory = test::WalkMemory<Gpa>;
using PageKind = Memory::PageKind;

constexpr std::uint64_t usual = 7;  // present, writable, user
constexpr std::uint64_t accessed = 0x20, dirty = 0x40, large = 0x80;
constexpr std::uint64_t pml4 = 0x1000, pdpt = 0x2000, directory = 0x3000, table = 0x4000, page = 0x55'5000;
constexpr std::uint64_t address = 0x0080'4020'1ABC;  // index 1 in every table

class GuestWalk : public testing::Test {
protected:
    GuestWalk() {
        for (const std::uint64_t at : {pml4, pdpt, directory, table}) memory_.page(at);
        memory_.word(pml4 + 8) = pdpt | usual;
        memory_.word(pdpt + 8) = directory | usual;
        memory_.word(directory + 8) = table | usual;
        memory_.word(table + 8) = page | usual;
    }
    GuestWalkResult walk(AccessKind kind = AccessKind::read, std::uint64_t at = address,
                         MarkPages mark = MarkPages::accessed_and_dirty) {
        return walk_guest(memory_, mode_, {Gpa{pml4}, Gva{at}, {kind, Privilege::user}, mark});
    }
    void expect_fault(const GuestWalkResult& result, GuestFaultCause cause, std::uint64_t entry,
                      std::uint32_t code = 0) {
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error().cause, cause);
        EXPECT_EQ(result.error().entry.value(), entry);
        EXPECT_EQ(result.error().error_code, code);
    }

    Memory memory_;
    PagingMode mode_;
};

TEST_F(GuestWalk, TellsEveryEntryItWentThrough) {
    const GuestWalkResult found = walk(AccessKind::write);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->gpa, Gpa{page | 0xABC});
    EXPECT_EQ(found->leaf, Level::page_4k);
    EXPECT_TRUE(found->dirty);
    const auto steps = found->path.steps();
    ASSERT_EQ(steps.size(), 4U);
    EXPECT_EQ(steps[0], (WalkStep<Gpa>{Level::top_4, Gpa{pml4 + 8}, pdpt | usual | accessed}));
    EXPECT_EQ(steps[3], (WalkStep<Gpa>{Level::page_4k, Gpa{table + 8}, page | usual | accessed | dirty}));
    EXPECT_EQ(memory_.word(table + 8), page | usual | accessed | dirty);
    EXPECT_TRUE(found->path.unchanged(memory_));
    memory_.word(directory + 8) ^= 2;
    EXPECT_FALSE(found->path.unchanged(memory_));
}

TEST_F(GuestWalk, LookingOnlyChangesNothing) {
    const GuestWalkResult found = walk(AccessKind::write, address, MarkPages::no);
    ASSERT_TRUE(found);
    EXPECT_FALSE(found->dirty);
    EXPECT_EQ(memory_.exchanges(), 0U);
}

TEST_F(GuestWalk, MarkedEntriesAreNotWrittenAgain) {
    ASSERT_TRUE(walk(AccessKind::write));
    const unsigned before = memory_.exchanges();
    ASSERT_TRUE(walk(AccessKind::write));
    EXPECT_EQ(memory_.exchanges(), before);
}

TEST_F(GuestWalk, TopTableThatMapsItselfIsLegal) {
    memory_.word(pml4 + 511 * 8) = pml4 | usual;
    constexpr std::uint64_t once = 0xFFFF'FF80'4020'1000;  // through the top twice: the table's own page
    GuestWalkResult found = walk(AccessKind::write, once);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->gpa, Gpa{table});
    constexpr std::uint64_t always = 0xFFFF'FFFF'FFFF'F000;  // four times through one entry
    found = walk(AccessKind::write, always);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->gpa, Gpa{pml4});
    EXPECT_TRUE(found->dirty);
    EXPECT_EQ(memory_.word(pml4 + 511 * 8), pml4 | usual | accessed | dirty);
    for (const auto& step : found->path.steps()) EXPECT_EQ(step.value, memory_.word(pml4 + 511 * 8));
    EXPECT_TRUE(found->path.unchanged(memory_));
}

TEST_F(GuestWalk, TableOutsideRamIsTold) {
    memory_.word(directory + 8) = 0xD000'0000 | usual;
    expect_fault(walk(AccessKind::write), GuestFaultCause::table_not_ram, 0xD000'0008,
                 page_fault::write | page_fault::user);
    EXPECT_EQ(memory_.word(pml4 + 8), pdpt | usual) << "a flag was set although there is no translation";
}

TEST_F(GuestWalk, SwappedTableIsAskedForAndFoundLater) {
    memory_.page(table, PageKind::absent);
    expect_fault(walk(), GuestFaultCause::table_absent, table + 8);
    EXPECT_EQ(memory_.word(pml4 + 8), pdpt | usual);
    memory_.page(table);
    EXPECT_TRUE(walk());
}

TEST_F(GuestWalk, TableThatLeavesWhileItIsMarkedIsAskedForAgain) {
    memory_.before_exchange([this](Gpa) { memory_.page(directory, PageKind::absent); });
    expect_fault(walk(), GuestFaultCause::table_absent, directory + 8);
    memory_.before_exchange([](Gpa) {});
    memory_.page(directory);
    EXPECT_TRUE(walk());
}

TEST_F(GuestWalk, TableTheGuestMayNotWriteStaysUnmarked) {
    memory_.page(table, PageKind::read_only);
    const GuestWalkResult found = walk(AccessKind::write);
    ASSERT_TRUE(found);
    EXPECT_FALSE(found->dirty);
    EXPECT_EQ(found->path.leaf().value, page | usual);
    EXPECT_EQ(memory_.word(directory + 8), table | usual | accessed);
}

class GuestWalkChanges : public GuestWalk {
protected:
    /// Another processor points the leaf elsewhere, so many times.
    void move_leaf(unsigned times) {
        memory_.before_exchange([this, times, done = 0U](Gpa entry) mutable {
            if (entry.value() == table + 8 && done++ < times) memory_.word(table + 8) += page_bytes;
        });
    }
};

TEST_F(GuestWalkChanges, ChangedLeafIsReadAgain) {
    move_leaf(3);
    const GuestWalkResult found = walk();
    ASSERT_TRUE(found);
    EXPECT_EQ(found->gpa, Gpa{(page + 3 * page_bytes) | 0xABC});
}

TEST_F(GuestWalkChanges, RightsAreCheckedAgain) {
    memory_.before_exchange([this](Gpa entry) {
        if (entry.value() == table + 8) memory_.word(table + 8) &= ~std::uint64_t{2};
    });
    expect_fault(walk(AccessKind::write), GuestFaultCause::write_denied, table + 8,
                 page_fault::present | page_fault::write | page_fault::user);
    EXPECT_EQ(memory_.word(table + 8), page | 5) << "a flag was set for an access that is denied";
}

TEST_F(GuestWalkChanges, EndlessChangesEndTheWalk) {
    move_leaf(1000);
    expect_fault(walk(), GuestFaultCause::table_unstable, table + 8);
    EXPECT_LE(memory_.reads(), (max_walk_restarts + 1) * 4);
    EXPECT_LE(memory_.exchanges(), (max_walk_restarts + 1) * 4);
}

TEST_F(GuestWalkChanges, EntryUsedTwiceThatChangesBetweenShows) {
    constexpr std::uint64_t once = 0xFFFF'FF80'4020'1000;  // the level 4 entry is the level 3 entry too
    constexpr std::uint64_t entry = pml4 + 511 * 8, before = pml4 | usual | accessed, after = directory | usual;
    constexpr std::uint64_t twice = once | 511ULL << 30;
    memory_.word(entry) = before;
    memory_.before_read([this, reads = 0](Gpa at) mutable {
        if (at.value() == entry && reads++ == 1) memory_.word(entry) = after;
    });
    const GuestWalkResult found = walk(AccessKind::read, twice);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->path.steps()[0].value, before);
    EXPECT_EQ(found->path.steps()[1].value, after | accessed);
    EXPECT_FALSE(found->path.unchanged(memory_));
}

TEST_F(GuestWalkChanges, IgnoredChangeWouldShow) {
    const PlantedWalkBug planted(WalkBug::change_ignored);
    move_leaf(1);
    const GuestWalkResult found = walk();
    ASSERT_TRUE(found);
    EXPECT_NE(found->gpa, Gpa{(page + page_bytes) | 0xABC});
    EXPECT_FALSE(found->path.unchanged(memory_));
}

TEST_F(GuestWalk, FiveLevelsReachFurther) {
    constexpr std::uint64_t pml5 = 0x8000, high = 0x00AA'0080'4020'1ABC;
    memory_.page(pml5);
    memory_.word(pml5 + (high >> 48 & 511) * 8) = pml4 | usual;
    const auto at = [&] {
        return walk_guest(memory_, mode_, {Gpa{pml5}, Gva{high}, {AccessKind::read, Privilege::user}, MarkPages::no});
    };
    EXPECT_EQ(at().error().cause, GuestFaultCause::non_canonical);
    EXPECT_FALSE(at().error().is_page_fault());
    mode_.top = Level::top_5;
    ASSERT_TRUE(at());
    EXPECT_EQ(at()->gpa, Gpa{page | 0xABC});
    EXPECT_EQ(at()->path.steps().size(), 5U);
}

TEST_F(GuestWalk, LargePageKeepsItsMemoryTypeApartFromItsAddress) {
    memory_.word(directory + 8) = 0x60'0000 | usual | large | 1 << 12 | 1 << 4;  // PAT, PCD
    const GuestWalkResult found = walk();
    ASSERT_TRUE(found);
    EXPECT_EQ(found->gpa, Gpa{0x60'1ABC});
    EXPECT_EQ(found->leaf, Level::page_2m);
    EXPECT_EQ(found->memory_type_index, 6);
}

}  // namespace
}  // namespace penumbra::mmu::guest_walk_test
