#include "shadow-mmu/table/entry_transition.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "shadow-mmu/format/device_format.hpp"
#include "shadow-mmu/format/ept_format.hpp"
#include "tests/support/history_memory.hpp"

namespace penumbra::mmu {
namespace {

using test::HistoryMemory;
using test::HistoryScope;

template <class Format>
class EntryTransition : public testing::Test {
protected:
    static constexpr Level small = Level::page_4k;

    /// Every kind of value that an entry at that level can hold, two frames and both permissions of each leaf.
    static std::vector<std::uint64_t> values(Level level) {
        std::vector<std::uint64_t> all{0, Format::busy()};
        for (const std::uint64_t frame : {1ULL << 18, 2ULL << 18}) {
            for (const Permission permission : {Permission::read, Permission::read_write}) {
                const std::uint64_t leaf = Format::leaf(Hvp{frame}, permission, level);
                all.push_back(leaf);
                all.push_back(Format::frozen(leaf));
            }
            if (level != Level::page_4k) all.push_back(Format::table(Hvp{frame}));
        }
        return all;
    }
    /// The rule, written out once more: by state, and that a leaf keeps its value over freeze and thaw.
    static bool expected(std::uint64_t from, std::uint64_t to, Level level) {
        const EntryState a = Format::state(from, level);
        const EntryState b = Format::state(to, level);
        switch (a) {
            case EntryState::empty:
                return b == EntryState::busy || b == EntryState::table;
            case EntryState::busy:
                return b == EntryState::empty || b == EntryState::present;
            case EntryState::present:
                return to == Format::frozen(from);
            case EntryState::frozen:
                return b == EntryState::empty || (b == EntryState::present && Format::frozen(to) == from);
            case EntryState::table:
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
using Formats = testing::Types<EptFormat, DeviceFormat>;
TYPED_TEST_SUITE(EntryTransition, Formats);

TYPED_TEST(EntryTransition, MatrixIsTheRule) {
    for (const Level level : {Level::page_4k, Level::page_2m, Level::page_1g}) {
        for (const std::uint64_t from : this->values(level)) {
            for (const std::uint64_t to : this->values(level)) {
                EXPECT_EQ(is_legal<TypeParam>(from, to, level), this->expected(from, to, level))
                    << std::hex << from << " -> " << to << " at level " << static_cast<unsigned>(level);
            }
        }
    }
}

TYPED_TEST(EntryTransition, NoStateIsLeftWithoutAWay) {
    for (const std::uint64_t value : this->values(Level::page_4k)) {
        unsigned ways = 0;
        for (const std::uint64_t to : this->values(Level::page_4k))
            ways += is_legal<TypeParam>(value, to, Level::page_4k);
        EXPECT_GT(ways, 0U) << std::hex << value;
    }
}

TYPED_TEST(EntryTransition, FreezeAndThawKeepTheTranslation) {
    for (const Level level : {Level::page_4k, Level::page_2m, Level::page_1g}) {
        for (const std::uint64_t value : this->values(level)) {
            if (TypeParam::state(value, level) != EntryState::present) continue;
            const std::uint64_t frozen = TypeParam::frozen(value);
            EXPECT_EQ(TypeParam::state(frozen, level), EntryState::frozen);
            EXPECT_EQ(TypeParam::frame(frozen), TypeParam::frame(value));
            EXPECT_EQ(TypeParam::thawed(frozen), value);
        }
    }
}

TYPED_TEST(EntryTransition, CountsWhatBecamePresentAndWhatWasZapped) {
    const std::uint64_t frozen = TypeParam::frozen(this->leaf_);
    ASSERT_TRUE(this->move(0, TypeParam::busy()));
    ASSERT_TRUE(this->move(TypeParam::busy(), 0));  // abandoned: no count
    ASSERT_TRUE(this->move(0, TypeParam::busy()));
    EXPECT_EQ(this->counters_.mapped.get(), 0U);
    ASSERT_TRUE(this->move(TypeParam::busy(), this->leaf_));
    EXPECT_EQ(this->counters_.mapped.get(), 1U);
    ASSERT_TRUE(this->move(this->leaf_, frozen));
    ASSERT_TRUE(this->move(frozen, this->leaf_));  // thawed: neither mapped nor zapped
    EXPECT_EQ(this->counters_.mapped.get(), 1U);
    ASSERT_TRUE(this->move(this->leaf_, frozen));
    EXPECT_EQ(this->counters_.zapped.get(), 0U);
    ASSERT_TRUE(this->move(frozen, 0));
    EXPECT_EQ(this->counters_.zapped.get(), 1U);
    EXPECT_EQ(HistoryMemory::values_of(this->slot_).size(), 9U);
    EXPECT_TRUE(HistoryMemory::complete());
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
    const std::uint64_t weaker = TypeParam::leaf(Hvp{77}, Permission::read, Level::page_4k);
    const auto dies = [this](std::uint64_t from, std::uint64_t to) {
        this->slot_.store(from);
        EXPECT_DEATH((void)this->move(from, to), "illegal entry transition");
    };
    dies(this->leaf_, other);   // another frame without a flush between
    dies(this->leaf_, weaker);  // less permission likewise
    dies(this->leaf_, 0);       // zapped without freeze
    dies(0, this->leaf_);       // installed without a claim
    dies(TypeParam::busy(), TypeParam::frozen(this->leaf_));
    dies(TypeParam::frozen(this->leaf_), other);  // thawed to something else
    dies(TypeParam::frozen(this->leaf_), TypeParam::busy());
}

}  // namespace
}  // namespace penumbra::mmu
