#include "shadow-mmu/table/entry_transition.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "shadow-mmu/format/device_format.hpp"
#include "shadow-mmu/format/ept_format.hpp"
#include "shadow-mmu/format/x86_format.hpp"
#include "tests/support/history_memory.hpp"

namespace penumbra::mmu {
namespace {

using test::HistoryMemory;
using test::HistoryScope;

template <class Format>
class EntryTransition : public testing::Test {
protected:
    static constexpr Level small = Level::page_4k;

    /// Every leaf of two frames there can be at that level: rights, write protection, A, D, aged.
    static std::vector<std::uint64_t> leaves(Level level) {
        std::vector<std::uint64_t> all;
        const auto add = [&all](std::uint64_t leaf) {
            if (std::ranges::find(all, leaf) == all.end()) all.push_back(leaf);
        };
        for (const std::uint64_t frame : {1ULL << 18, 2ULL << 18}) {
            for (const Rights rights : {Rights{Right::execute}, Right::execute | Right::user, Rights{Right::host_write},
                                        rights_of(Permission::read_write)}) {
                const std::uint64_t leaf = Format::leaf(Hvp{frame}, rights, level);
                for (const std::uint64_t one :
                     {leaf, Format::cleaned(leaf), Format::write_protected(leaf), Format::write_tracked(leaf)}) {
                    add(one);
                    add(Format::aged(one));
                }
            }
        }
        return all;
    }
    /// Every kind of value that an entry at that level can hold.
    static std::vector<std::uint64_t> values(Level level) {
        std::vector<std::uint64_t> all{0, Format::busy(), Format::retired(), Format::frozen(0)};
        for (const std::uint64_t leaf : level <= Level::page_1g ? leaves(level) : std::vector<std::uint64_t>{}) {
            all.push_back(leaf);
            all.push_back(Format::frozen(leaf));
        }
        for (const std::uint64_t node : {1ULL << 18, 2ULL << 18}) {
            if (level == Level::page_4k) continue;
            all.push_back(Format::table(Hvp{node}));
            all.push_back(Format::frozen(Format::table(Hvp{node})));
        }
        return all;
    }
    static bool leaf(std::uint64_t value, Level level) {
        const EntryState state = Format::state(value, level);
        return state == EntryState::present || state == EntryState::aged;
    }
    /// What may become of one and the same page in place: all but its frame, size, memory type and the host's consent.
    static bool same_page(std::uint64_t a, std::uint64_t b, Level level) {
        return Format::frame(a, level) == Format::frame(b, level) &&
               Format::rights(a).has(Right::host_write) == Format::rights(b).has(Right::host_write);
    }
    /// The rule, written out once more.
    static bool expected(std::uint64_t from, std::uint64_t to, Level level) {
        const EntryState b = Format::state(to, level);
        const bool low = level == Level::page_4k;
        switch (Format::state(from, level)) {
            case EntryState::empty:
                return b == EntryState::busy || b == EntryState::table ||
                       (b == EntryState::frozen && Format::thawed(to) == 0);
            case EntryState::busy:
                return b == EntryState::empty || leaf(to, level);
            case EntryState::present:
            case EntryState::aged:
                if (b == EntryState::frozen) return Format::thawed(to) == from;
                if (b == EntryState::table) return !low && level <= Level::page_1g;
                return leaf(to, level) && to != from && same_page(from, to, level);
            case EntryState::table:
                return b == EntryState::frozen && Format::thawed(to) == from;
            case EntryState::frozen: {
                const std::uint64_t was = Format::thawed(from);
                const bool was_table = Format::state(was, level) == EntryState::table;
                return to == 0 || to == was || b == EntryState::retired || (was_table && leaf(to, level));
            }
            case EntryState::retired:
                return false;
        }
        return false;
    }
    bool move(std::uint64_t from, std::uint64_t to, Level level = small) {
        return transition<Format, HistoryMemory>(slot_, from, to, level, counters_);
    }

    const std::uint64_t leaf_ = Format::leaf(Hvp{77}, Permission::read_write, small);
    const HistoryScope history_;
    HistoryMemory::Slot slot_{0};
    TableCounters counters_;
};
using Formats = testing::Types<EptFormat, EptFormatOf<Level::top_5, AccessedDirty::hardware>, X86Format,
                               X86FormatOf<Level::top_5, AccessedDirty::hardware>, DeviceFormat,
                               DeviceFormatOf<Level::top_4, AccessedDirty::hardware>>;
TYPED_TEST_SUITE(EntryTransition, Formats);

TYPED_TEST(EntryTransition, MatrixIsTheRule) {
    unsigned wrong = 0;
    for (const Level level : {Level::page_4k, Level::page_2m, Level::page_1g, Level::top_4}) {
        for (const std::uint64_t from : this->values(level)) {
            for (const std::uint64_t to : this->values(level)) {
                if (is_legal<TypeParam>(from, to, level) == this->expected(from, to, level)) continue;
                if (++wrong > 5) continue;
                ADD_FAILURE() << std::hex << from << " -> " << to << " at level " << static_cast<unsigned>(level);
            }
        }
    }
    EXPECT_EQ(wrong, 0U);
}

TYPED_TEST(EntryTransition, NoFrameEverChangesInPlace) {
    for (const Level level : {Level::page_4k, Level::page_2m, Level::page_1g}) {
        for (const std::uint64_t from : this->leaves(level)) {
            for (const std::uint64_t to : this->leaves(level)) {
                if (!is_legal<TypeParam>(from, to, level)) continue;
                ASSERT_EQ(TypeParam::frame(from, level), TypeParam::frame(to, level));
                ASSERT_TRUE(TypeParam::writes_are_legal(to));
            }
        }
    }
}

TYPED_TEST(EntryTransition, EveryStateButRetiredHasAWay) {
    for (const std::uint64_t value : this->values(Level::page_4k)) {
        unsigned ways = 0;
        for (const std::uint64_t to : this->values(Level::page_4k))
            ways += is_legal<TypeParam>(value, to, Level::page_4k);
        EXPECT_EQ(ways > 0, value != TypeParam::retired()) << std::hex << value;
    }
}

TYPED_TEST(EntryTransition, FreezeAndThawKeepTheEntry) {
    for (const Level level : {Level::page_4k, Level::page_2m, Level::page_1g}) {
        for (const std::uint64_t value : this->leaves(level)) {
            const std::uint64_t frozen = TypeParam::frozen(value);
            ASSERT_EQ(TypeParam::state(frozen, level), EntryState::frozen);
            ASSERT_FALSE(TypeParam::translates(frozen));
            ASSERT_EQ(TypeParam::frame(frozen, level), TypeParam::frame(value, level));
            ASSERT_EQ(TypeParam::thawed(frozen), value);
        }
    }
}

TYPED_TEST(EntryTransition, ALeafThatAllowsLessOwesAFlush) {
    const Level level = Level::page_2m;
    for (const std::uint64_t from : this->leaves(level)) {
        for (const std::uint64_t to : this->values(level)) {
            if (!is_legal<TypeParam>(from, to, level)) continue;
            const bool cached = TypeParam::translates(from);
            const bool still = TypeParam::translates(to) && this->leaf(to, level);
            const bool less = still && ((TypeParam::writable(from) && !TypeParam::writable(to)) ||
                                        (TypeParam::is_dirty(from) && !TypeParam::is_dirty(to)) ||
                                        (TypeParam::rights(from) | TypeParam::rights(to)) != TypeParam::rights(to));
            const bool gone = TypeParam::state(to, level) == EntryState::frozen;
            ASSERT_EQ(owes_flush<TypeParam>(from, to, level), cached && (less || gone))
                << std::hex << from << ' ' << to;
        }
    }
}

TYPED_TEST(EntryTransition, CountsWhatBecamePresentAndWhatWasZapped) {
    const std::uint64_t frozen = TypeParam::frozen(this->leaf_);
    ASSERT_TRUE(this->move(0, TypeParam::busy()));
    ASSERT_TRUE(this->move(TypeParam::busy(), 0));  // abandoned: no count
    ASSERT_TRUE(this->move(0, TypeParam::busy()));
    EXPECT_EQ(this->counters_.mapped.get(), 0U);
    settle<TypeParam, HistoryMemory>(this->slot_, TypeParam::busy(), this->leaf_, this->small, this->counters_);
    EXPECT_EQ(this->counters_.mapped.get(), 1U);
    ASSERT_TRUE(this->move(this->leaf_, frozen));
    ASSERT_TRUE(this->move(frozen, this->leaf_));  // thawed: neither mapped nor zapped
    EXPECT_EQ(this->counters_.mapped.get(), 1U);
    ASSERT_TRUE(this->move(this->leaf_, frozen));
    EXPECT_EQ(this->counters_.zapped.get(), 0U);
    settle<TypeParam, HistoryMemory>(this->slot_, frozen, 0, this->small, this->counters_);
    EXPECT_EQ(this->counters_.zapped.get(), 1U);
    EXPECT_EQ(HistoryMemory::values_of(this->slot_).size(), 9U);
    EXPECT_TRUE(HistoryMemory::complete());
}

TYPED_TEST(EntryTransition, CountsPagesOfLargeLeaves) {
    const std::uint64_t large = TypeParam::leaf(Hvp{512}, Permission::read_write, Level::page_2m);
    ASSERT_TRUE(this->move(0, TypeParam::busy(), Level::page_2m));
    ASSERT_TRUE(this->move(TypeParam::busy(), large, Level::page_2m));
    EXPECT_EQ(this->counters_.mapped.get(), 512U);
    ASSERT_TRUE(this->move(large, TypeParam::frozen(large), Level::page_2m));
    ASSERT_TRUE(this->move(TypeParam::frozen(large), 0, Level::page_2m));
    EXPECT_EQ(this->counters_.zapped.get(), 512U);
    {
        TableTally tally(this->counters_);
        ASSERT_EQ((fill_alone<TypeParam, HistoryMemory>(&this->slot_, 1, large, Level::page_2m, tally)), 1U);
        ASSERT_EQ((fill_alone<TypeParam, HistoryMemory>(&this->slot_, 1, large, Level::page_2m, tally)), 0U);
        ASSERT_EQ(
            (clear_alone<TypeParam, HistoryMemory>(&this->slot_, 1, Level::page_2m, tally,
                                                   [&](std::uint64_t, std::uint64_t leaf) { EXPECT_EQ(leaf, large); })),
            1U);
        EXPECT_EQ(this->counters_.mapped.get(), 512U);
    }
    EXPECT_EQ(this->counters_.mapped.get(), 1024U);
    EXPECT_EQ(this->counters_.zapped.get(), 1024U);
}

TYPED_TEST(EntryTransition, WhoIsSlowerChangesNothing) {
    ASSERT_TRUE(this->move(0, TypeParam::busy()));
    EXPECT_FALSE(this->move(0, TypeParam::busy()));
    EXPECT_FALSE(this->move(this->leaf_, TypeParam::frozen(this->leaf_)));
    EXPECT_EQ(HistoryMemory::load(this->slot_), TypeParam::busy());
    EXPECT_EQ(this->counters_.mapped.get() + this->counters_.zapped.get(), 0U);
}

template <class Format>
class EntryTransitionDeathTest : public EntryTransition<Format> {};
TYPED_TEST_SUITE(EntryTransitionDeathTest, Formats);

TYPED_TEST(EntryTransitionDeathTest, IllegalMovesStopTheProcess) {
    const std::uint64_t other = TypeParam::leaf(Hvp{78}, Permission::read_write, Level::page_4k);
    const auto dies = [this](std::uint64_t from, std::uint64_t to) {
        this->slot_.store(from);
        EXPECT_DEATH((void)this->move(from, to), "illegal entry transition");
    };
    dies(this->leaf_, other);                     // another frame without a flush between
    dies(this->leaf_, 0);                         // zapped without freeze
    dies(0, this->leaf_);                         // installed without a claim
    dies(TypeParam::frozen(this->leaf_), other);  // thawed to something else
}

TYPED_TEST(EntryTransitionDeathTest, AnOwnedEntryIsItsOwners) {
    EXPECT_DEATH((settle<TypeParam, HistoryMemory>(this->slot_, TypeParam::busy(), this->leaf_, Level::page_4k,
                                                   this->counters_)),
                 "changed by somebody else");
}

}  // namespace
}  // namespace penumbra::mmu
