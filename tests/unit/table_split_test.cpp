// Splitting a large leaf and collapsing a table: what a walker may see meanwhile, what A, D and rights become, and who
// is flushed when.
#include <gtest/gtest.h>

#include "shadow-mmu/format/device_format.hpp"
#include "shadow-mmu/format/ept_format.hpp"
#include "shadow-mmu/format/x86_format.hpp"
#include "shadow-mmu/table/collapse.hpp"
#include "shadow-mmu/table/split.hpp"
#include "tests/support/history_memory.hpp"
#include "tests/support/table_probe.hpp"

namespace penumbra::mmu {
namespace {

using test::HistoryMemory;
using test::HistoryScope;
using test::pages_1g;
using test::pages_2m;

template <class F>
class TableSplit : public testing::Test {
protected:
    using Format = F;
    using Table = PageTable<Format, HistoryMemory, test::ProbeNodes>;
    using Processor = test::ModelledProcessor<Table>;
    static constexpr Gfn region{3 * pages_2m};
    static constexpr Hvp host{7 * pages_1g + 3 * pages_2m};
    static constexpr Rights all = rights_of(Permission::read_write);

    std::uint64_t raw(Gfn gfn) { return table_.lookup(gfn).raw; }
    void set(Gfn gfn, std::uint64_t to) {
        const auto cursor = table_.walk(gfn, Level::page_4k);
        const std::uint64_t from = HistoryMemory::load(*cursor.slot);
        if (from == to) return;
        ASSERT_TRUE((transition<Format, HistoryMemory>(*cursor.slot, from, to, cursor.level, table_.counters())));
    }
    void fill(Rights rights = all) {
        for (std::uint64_t i = 0; i < pages_2m; ++i) ASSERT_TRUE(test::install(table_, region + i, host + i, rights));
    }
    CollapseResult collapse_region() {
        FlushBatch<Processor> batch(processor_);
        return collapse(table_, region, Level::page_2m, batch);
    }
    void expect_quiet() {
        const test::TreeSum sum = test::sum_of(table_);
        EXPECT_EQ(sum.broken, 0U);
        EXPECT_EQ(table_.counters().mapped.get() - table_.counters().zapped.get(), sum.pages);
        table_.reclaim();
        EXPECT_EQ(nodes_.allocated(), sum.nodes);
        EXPECT_EQ(nodes_.dirty(), 0U);
        EXPECT_TRUE(HistoryMemory::complete());
    }

    const HistoryScope history_;
    test::ProbeNodes nodes_{16};
    Table table_{nodes_};
    Processor processor_{table_};
};
using Formats = testing::Types<EptFormat, EptFormatOf<Level::top_5, AccessedDirty::hardware>, X86Format,
                               X86FormatOf<Level::top_5, AccessedDirty::hardware>, DeviceFormat,
                               DeviceFormatOf<Level::top_4, AccessedDirty::hardware>>;
TYPED_TEST_SUITE(TableSplit, Formats);

TYPED_TEST(TableSplit, KeepsEveryBitOfEveryTranslation) {
    const Rights some = Right::execute | Right::host_write;
    for (const Rights rights : {TestFixture::all, some, Rights{Right::user}}) {
        const std::uint64_t leaf = TypeParam::leaf(this->host, rights, Level::page_2m);
        for (const std::uint64_t whole :
             {leaf, TypeParam::aged(leaf), TypeParam::cleaned(leaf), TypeParam::write_tracked(leaf)}) {
            test::ProbeNodes nodes(16);
            typename TestFixture::Table table(nodes);
            ASSERT_TRUE(test::install(table, this->region, this->host, rights, Level::page_2m));
            const auto cursor = table.walk(this->region, Level::page_4k);
            if (whole != leaf) {
                ASSERT_TRUE(
                    (transition<TypeParam, HistoryMemory>(*cursor.slot, leaf, whole, cursor.level, table.counters())));
            }
            ASSERT_EQ(split(table, this->region + 5), SplitResult::done);
            for (std::uint64_t i = 0; i < pages_2m; ++i) {
                const auto entry = table.lookup(this->region + i);
                ASSERT_EQ(entry.level, Level::page_4k);
                ASSERT_EQ(TypeParam::frame(entry.raw), this->host + i);
                ASSERT_EQ(TypeParam::rights(entry.raw), TypeParam::rights(whole)) << "SplitKeepsRights";
                ASSERT_EQ(TypeParam::writable(entry.raw), TypeParam::writable(whole));
                ASSERT_EQ(TypeParam::may_grant_write(entry.raw), TypeParam::may_grant_write(whole));
                ASSERT_EQ(TypeParam::young(entry.raw), TypeParam::young(whole));
                ASSERT_EQ(TypeParam::is_dirty(entry.raw), TypeParam::is_dirty(whole));
            }
            EXPECT_EQ(table.counters().mapped.get() - table.counters().zapped.get(), pages_2m);
        }
    }
}

TYPED_TEST(TableSplit, EveryStateBetweenTranslatesAlike) {
    ASSERT_TRUE(test::install(this->table_, this->region, this->host, this->all, Level::page_2m));
    unsigned wrong = 0;
    HistoryMemory::observe([&] {
        for (const std::uint64_t i : {0U, 1U, 255U, 511U}) {
            wrong += this->table_.translate(this->region + i) != this->host + i ? 1U : 0U;
        }
    });
    ASSERT_EQ(split(this->table_, this->region), SplitResult::done);
    EXPECT_EQ(wrong, 0U);
    EXPECT_EQ(this->processor_.flushes, 0U);
    HistoryMemory::observe(nullptr);
    this->expect_quiet();
}

TYPED_TEST(TableSplit, AGigabyteSplitsTwice) {
    const Hvp gigabyte{5 * pages_1g};
    ASSERT_TRUE(test::install(this->table_, Gfn{0}, gigabyte, this->all, Level::page_1g));
    ASSERT_EQ(split(this->table_, Gfn{77}), SplitResult::done);
    EXPECT_EQ(this->table_.lookup(Gfn{77}).level, Level::page_2m);
    ASSERT_EQ(split(this->table_, Gfn{77}), SplitResult::done);
    EXPECT_EQ(this->table_.lookup(Gfn{77}).level, Level::page_4k);
    EXPECT_EQ(split(this->table_, Gfn{77}), SplitResult::no_large_leaf);
    EXPECT_EQ(this->table_.lookup(Gfn{pages_2m}).level, Level::page_2m);
    for (const std::uint64_t gfn : {std::uint64_t{0}, std::uint64_t{77}, pages_2m + 3, pages_1g - 1}) {
        EXPECT_EQ(this->table_.translate(Gfn{gfn}), gigabyte + gfn);
    }
    EXPECT_EQ(split_range(this->table_, GfnRange{Gfn{pages_2m}, 2 * pages_2m}), SplitResult::done);
    EXPECT_EQ(this->table_.lookup(Gfn{2 * pages_2m}).level, Level::page_4k);
    EXPECT_EQ(this->table_.lookup(Gfn{3 * pages_2m}).level, Level::page_2m);
    EXPECT_EQ(this->table_.counters().splits.get(), 4U);
    this->expect_quiet();
}

TYPED_TEST(TableSplit, WithoutAPageNothingChanges) {
    ASSERT_TRUE(test::install(this->table_, this->region, this->host, this->all, Level::page_2m));
    const std::uint64_t before = this->raw(this->region);
    this->nodes_.fail_every(1);
    EXPECT_EQ(split(this->table_, this->region), SplitResult::out_of_memory);
    EXPECT_EQ(split_range(this->table_, GfnRange{this->region, 5}), SplitResult::out_of_memory);
    EXPECT_EQ(this->raw(this->region), before);
    this->expect_quiet();
}

TYPED_TEST(TableSplit, CollapseFlushesBeforeTheLargeLeafAndMergesWhatWasRecorded) {
    this->fill();
    for (std::uint64_t i = 0; i < pages_2m; ++i) {
        const std::uint64_t leaf = this->raw(this->region + i);
        this->set(this->region + i, i == 9 ? leaf : TypeParam::aged(leaf));
    }
    ASSERT_TRUE(this->processor_.access(this->region + 9, Touch::read));
    unsigned flushed_while_frozen = 0;
    this->processor_.before_flush = [&] {
        unsigned frozen = 0;
        for (const std::uint64_t i : {0U, 9U, 511U}) {
            frozen += this->table_.translate(this->region + i).has_value() ? 0U : 1U;
        }
        flushed_while_frozen += frozen == 3 ? 1 : 0;
    };
    ASSERT_EQ(this->collapse_region(), CollapseResult::done);
    EXPECT_EQ(flushed_while_frozen, 1U) << "CollapseFlushesFirst";
    EXPECT_FALSE(this->processor_.caches(this->region + 9)) << "CollapseFlushesFirst";
    const auto entry = this->table_.lookup(this->region + 40);
    EXPECT_EQ(entry.level, Level::page_2m);
    EXPECT_EQ(this->table_.translate(this->region + 40), this->host + 40);
    EXPECT_TRUE(TypeParam::young(entry.raw)) << "one of them was touched";
    this->expect_quiet();
}

TYPED_TEST(TableSplit, CollapseShowsTheOldTheNewOrNothing) {
    this->fill();
    unsigned wrong = 0;
    HistoryMemory::observe([&] {
        for (const std::uint64_t i : {0U, 1U, 255U, 511U}) {
            const auto page = this->table_.translate(this->region + i);
            wrong += page && *page != this->host + i ? 1U : 0U;
        }
    });
    ASSERT_EQ(this->collapse_region(), CollapseResult::done);
    EXPECT_EQ(wrong, 0U);
    HistoryMemory::observe(nullptr);
    ASSERT_EQ(split(this->table_, this->region), SplitResult::done);
    EXPECT_EQ(this->raw(this->region + 100), TypeParam::leaf(this->host + 100, this->all, Level::page_4k));
    this->expect_quiet();
}

TYPED_TEST(TableSplit, WhatIsNotUniformStaysAsItWas) {
    EXPECT_EQ(this->collapse_region(), CollapseResult::no_table);
    this->fill();
    const auto change_one = [&](std::uint64_t to, CollapseResult expected) {
        const auto cursor = this->table_.walk(this->region + 300, Level::page_4k);
        const std::uint64_t before = cursor.slot->exchange(to);
        EXPECT_EQ(this->collapse_region(), expected);
        EXPECT_EQ(HistoryMemory::load(*cursor.slot), to);
        cursor.slot->store(before);
    };
    change_one(0, CollapseResult::not_uniform);
    change_one(TypeParam::leaf(this->host + 301, this->all, Level::page_4k), CollapseResult::not_uniform);
    change_one(TypeParam::leaf(this->host + 300, Rights{Right::execute}, Level::page_4k), CollapseResult::not_uniform);
    change_one(TypeParam::busy(), CollapseResult::contended);
    change_one(TypeParam::frozen(TypeParam::leaf(this->host + 300, this->all, Level::page_4k)),
               CollapseResult::contended);
    EXPECT_EQ(this->processor_.flushes, 0U);
    for (std::uint64_t i = 0; i < pages_2m; ++i) ASSERT_EQ(this->table_.translate(this->region + i), this->host + i);
    ASSERT_EQ(this->collapse_region(), CollapseResult::done);
}

TYPED_TEST(TableSplit, AWriteProtectedPageMakesTheWholeSo) {
    this->fill();
    this->set(this->region + 7, TypeParam::write_protected(this->raw(this->region + 7)));
    ASSERT_EQ(this->collapse_region(), CollapseResult::done);
    EXPECT_FALSE(TypeParam::writable(this->raw(this->region)));
    EXPECT_TRUE(TypeParam::may_grant_write(this->raw(this->region)));
}

TYPED_TEST(TableSplit, MisalignedPagesDoNotCollapse) {
    for (std::uint64_t i = 0; i < pages_2m; ++i) {
        ASSERT_TRUE(test::install(this->table_, this->region + i, this->host + (i + 1), this->all));
    }
    EXPECT_EQ(this->collapse_region(), CollapseResult::not_uniform);
    this->expect_quiet();
}

// The planted bugs, each found by what the tests above look at.
TEST(TablePlanted, SplitThatForgetsRightsIsFound) {
    using Table = PageTable<EptFormat, AtomicEntryMemory, test::ProbeNodes>;
    Table table{test::ProbeNodes(16)};
    ASSERT_TRUE(test::install(table, Gfn{0}, Hvp{0}, Rights{Right::execute}, Level::page_2m));
    const Planted bug(Plant::split_forgets_rights);
    ASSERT_EQ(split(table, Gfn{0}), SplitResult::done);
    EXPECT_TRUE(EptFormat::writable(table.lookup(Gfn{3}).raw)) << "the rights test would pass over it";
}

TEST(TablePlanted, CollapseWithoutFlushIsFound) {
    using Table = PageTable<EptFormat, AtomicEntryMemory, test::ProbeNodes>;
    Table table{test::ProbeNodes(16)};
    test::ModelledProcessor<Table> processor(table);
    for (std::uint64_t i = 0; i < pages_2m; ++i) ASSERT_TRUE(test::install(table, Gfn{i}, Hvp{i}, Right::execute));
    ASSERT_TRUE(processor.access(Gfn{9}, Touch::read));
    const Planted bug(Plant::collapse_skips_flush);
    FlushBatch<test::ModelledProcessor<Table>> batch(processor);
    ASSERT_EQ(collapse(table, Gfn{0}, Level::page_2m, batch), CollapseResult::done);
    EXPECT_TRUE(processor.caches(Gfn{9})) << "the flush test would pass over it";
}

}  // namespace
}  // namespace penumbra::mmu
