// Taking out leaves and table pages: the order of freeze, flush, clear and free, what becomes of A and D bits, and that
// readers keep what they walk.
#include <gtest/gtest.h>

#include <thread>

#include "shadow-mmu/format/ept_format.hpp"
#include "shadow-mmu/format/x86_format.hpp"
#include "shadow-mmu/table/bulk.hpp"
#include "shadow-mmu/table/zap.hpp"
#include "tests/support/history_memory.hpp"
#include "tests/support/table_probe.hpp"

namespace penumbra::mmu {
namespace {

using test::pages_1g;
using test::pages_2m;

using Format = X86FormatOf<Level::top_4, AccessedDirty::hardware>;
constexpr Rights all = rights_of(Permission::read_write);
constexpr auto nobody = [](Gfn, std::uint64_t, Level) {};

class TableZap : public testing::Test {
protected:
    using Table = PageTable<Format, AtomicEntryMemory, test::ProbeNodes>;
    using Processor = test::ModelledProcessor<Table>;

    void fill(std::uint64_t first, std::uint64_t pages) {
        ASSERT_EQ(map_alone(table_, GfnRange{Gfn{first}, pages}, Hvp{first}, all), pages);
    }
    std::uint64_t zap(std::uint64_t first, std::uint64_t pages, TablePages keep = TablePages::reclaim) {
        std::uint64_t gone = 0;
        Zapper<Table, Processor> zapper(table_, processor_);
        zapper.zap(GfnRange{Gfn{first}, pages}, keep,
                   [&](Gfn, std::uint64_t, Level level) { gone += pages_spanned(level); });
        return gone;
    }
    void expect_quiet() {
        const test::TreeSum sum = test::sum_of(table_);
        EXPECT_EQ(sum.broken, 0U);
        EXPECT_EQ(table_.counters().mapped.get() - table_.counters().zapped.get(), sum.pages);
        table_.reclaim();
        EXPECT_EQ(nodes_.allocated(), sum.nodes);
        EXPECT_EQ(nodes_.dirty(), 0U);
    }
    /// Whether a zap of `pages` left nothing claimable, unflushed or freed at the moment of its flush.
    bool flushes_in_order(std::uint64_t pages) {
        bool in_order = true;
        processor_.before_flush = [&] {
            for (std::uint64_t i = 0; i < pages; ++i) {
                const auto entry = table_.lookup(Gfn{i});
                in_order = in_order && Format::state(entry.raw, entry.level) == EntryState::frozen;
            }
        };
        bool freed = false;
        nodes_.on_give_back([&] { freed = true; });
        fill(0, pages);
        processor_.before_flush = [&, look = processor_.before_flush] {
            look();
            in_order = in_order && !freed;
        };
        EXPECT_EQ(zap(0, pages), pages);
        nodes_.on_give_back(nullptr);
        return in_order;
    }

    test::ProbeNodes nodes_{600};
    Table table_{nodes_};
    Processor processor_{table_};
};

TEST_F(TableZap, TakesOutTheRangeAndItsTablePages) {
    fill(0, 3 * pages_2m);
    const std::uint64_t full = nodes_.allocated();
    EXPECT_EQ(zap(pages_2m - 3, pages_2m + 6), pages_2m + 6);
    table_.reclaim();
    EXPECT_EQ(nodes_.allocated(), full - 1) << "the page in the middle is covered, its neighbours in part";
    for (const std::uint64_t gfn : {std::uint64_t{0}, pages_2m - 4, 2 * pages_2m + 3, 3 * pages_2m - 1}) {
        EXPECT_EQ(table_.translate(Gfn{gfn}), Hvp{gfn});
    }
    for (const std::uint64_t gfn : {pages_2m - 3, pages_2m, 2 * pages_2m - 1, 2 * pages_2m + 2}) {
        EXPECT_FALSE(table_.translate(Gfn{gfn}));
    }
    fill(pages_2m - 3, pages_2m + 6);
    EXPECT_EQ(zap(0, 512 * pages_1g), 3 * pages_2m);
    table_.reclaim();
    EXPECT_EQ(nodes_.allocated(), 1U) << "only the root is left";
    expect_quiet();
}

TEST_F(TableZap, KeepsTablePagesWhereAsked) {
    fill(0, 2 * pages_2m);
    const std::uint64_t full = nodes_.allocated();
    EXPECT_EQ(zap(0, 2 * pages_2m, TablePages::keep), 2 * pages_2m);
    EXPECT_EQ(nodes_.allocated(), full);
    EXPECT_EQ(processor_.flushes, 1U) << "one flush for both";
    EXPECT_EQ(zap(0, 2 * pages_2m, TablePages::keep), 0U);
    EXPECT_EQ(processor_.flushes, 1U) << "nothing was there to flush";
    expect_quiet();
}

TEST_F(TableZap, FlushesWhileFrozenThenClearsThenFrees) { EXPECT_TRUE(flushes_in_order(2 * pages_2m)); }

TEST_F(TableZap, ALargeLeafGoesInPartByBeingSplit) {
    ASSERT_TRUE(test::install(table_, Gfn{pages_2m}, Hvp{pages_2m}, all, Level::page_2m));
    EXPECT_EQ(zap(pages_2m + 10, 5), 5U);
    EXPECT_EQ(table_.translate(Gfn{pages_2m + 9}), Hvp{pages_2m + 9});
    EXPECT_FALSE(table_.translate(Gfn{pages_2m + 10}));
    EXPECT_FALSE(table_.translate(Gfn{pages_2m + 14}));
    EXPECT_EQ(table_.translate(Gfn{pages_2m + 15}), Hvp{pages_2m + 15});
    expect_quiet();
}

TEST_F(TableZap, ALargeLeafGoesWhollyWithoutAPageToSplitIt) {
    ASSERT_TRUE(test::install(table_, Gfn{pages_2m}, Hvp{pages_2m}, all, Level::page_2m));
    nodes_.fail_every(1);
    EXPECT_EQ(zap(pages_2m + 10, 5), pages_2m);
    EXPECT_FALSE(table_.translate(Gfn{pages_2m}));
    nodes_.fail_every(std::nullopt);
    expect_quiet();
}

TEST_F(TableZap, HandsBackAccessedAndDirty) {
    for (std::uint64_t i = 0; i < 4; ++i) ASSERT_TRUE(test::install(table_, Gfn{i}, Hvp{i}, all));
    for (std::uint64_t i = 0; i < 4; ++i) {
        const auto cursor = table_.walk(Gfn{i}, Level::page_4k);
        const std::uint64_t raw = cursor.slot->load();
        ASSERT_TRUE((transition<Format, AtomicEntryMemory>(*cursor.slot, raw, Format::aged(Format::cleaned(raw)),
                                                           cursor.level, table_.counters())));
    }
    ASSERT_TRUE(processor_.access(Gfn{1}, Touch::read));
    ASSERT_TRUE(processor_.access(Gfn{2}, Touch::write));
    std::string seen;
    Zapper<Table, Processor> zapper(table_, processor_);
    zapper.zap(GfnRange{Gfn{0}, 4}, TablePages::keep, [&](Gfn gfn, std::uint64_t leaf, Level) {
        EXPECT_FALSE(processor_.caches(gfn)) << "told before the flush";
        seen += Format::young(leaf) ? 'A' : '-';
        seen += Format::is_dirty(leaf) ? 'D' : '-';
    });
    EXPECT_EQ(seen, "--A-AD--");
}

TEST_F(TableZap, WaitsForClaimedEntriesWithNothingFrozen) {
    fill(0, 8);
    const auto claimed = table_.find_or_create(Gfn{3});
    ASSERT_EQ(zap(3, 1), 1U);
    ASSERT_TRUE(
        (transition<Format, AtomicEntryMemory>(*claimed.slot, 0, Format::busy(), Level::page_4k, table_.counters())));
    std::atomic<bool> done{false};
    std::jthread zapper([&] {
        EXPECT_EQ(zap(0, 8), 8U);
        done = true;
    });
    while (table_.lookup(Gfn{2}).raw != 0) std::this_thread::yield();  // finished before it waits
    EXPECT_FALSE(done);
    settle<Format, AtomicEntryMemory>(*claimed.slot, Format::busy(), Format::leaf(Hvp{3}, all, Level::page_4k),
                                      Level::page_4k, table_.counters());
    zapper.join();
    EXPECT_TRUE(done);
    expect_quiet();
}

/// Whether a reader that is inside when a table page is taken out loses it.
bool reader_loses_its_page(test::ProbeNodes& nodes, PageTable<Format, AtomicEntryMemory, test::ProbeNodes>& table) {
    using Table = PageTable<Format, AtomicEntryMemory, test::ProbeNodes>;
    test::ModelledProcessor<Table> processor(table);
    std::atomic<bool> inside{true};
    std::atomic<bool> lost{false};
    std::atomic<bool> zapped{false};
    nodes.on_give_back([&] { lost = lost || inside; });
    std::optional<rcu::ReadSection> section(std::in_place);
    std::jthread zapper([&] {
        Zapper<Table, test::ModelledProcessor<Table>> zap(table, processor);
        zap.zap(GfnRange{Gfn{0}, pages_2m}, TablePages::reclaim, nobody);
        zapped = true;
        table.reclaim();
    });
    const auto stop = std::chrono::steady_clock::now() + std::chrono::milliseconds{30};
    while (!zapped || (std::chrono::steady_clock::now() < stop && !lost)) std::this_thread::yield();
    inside = false;
    section.reset();
    zapper.join();
    nodes.on_give_back(nullptr);
    return lost;
}

TEST_F(TableZap, ReadersKeepWhatTheyWalkUntilTheyLeave) {
    fill(0, pages_2m);
    EXPECT_FALSE(reader_loses_its_page(nodes_, table_));
    EXPECT_EQ(nodes_.allocated(), 3U) << "the upper levels are not covered";
}

TEST_F(TableZap, AloneClearsThenFlushesOnce) {
    fill(5, 2000);
    FlushBatch<Processor> batch(processor_);
    std::uint64_t gone = 0;
    zap_alone(table_, GfnRange{Gfn{0}, 1000}, batch, [&](Gfn gfn, std::uint64_t leaf, Level level) {
        EXPECT_EQ(Format::frame(leaf, level), Hvp{gfn.value()});
        ++gone;
    });
    EXPECT_EQ(gone, 995U);
    EXPECT_EQ(processor_.flushes, 1U);
    EXPECT_FALSE(table_.translate(Gfn{999}));
    EXPECT_EQ(table_.translate(Gfn{1000}), Hvp{1000});
    EXPECT_EQ(map_alone(table_, GfnRange{Gfn{990}, 20}, Hvp{990}, all), 10U) << "stops at what is mapped";
    expect_quiet();
}

TEST(TablePlanted, ClearBeforeFlushIsFound) {
    struct Bug : TableZap {
        void TestBody() override {
            const Planted bug(Plant::clear_before_flush);
            EXPECT_FALSE(flushes_in_order(2 * pages_2m));
        }
    };
    Bug().TestBody();
}

TEST(TablePlanted, FreeBeforeFlushIsFound) {
    struct Bug : TableZap {
        void TestBody() override {
            const Planted bug(Plant::free_before_flush);
            bool freed_first = false;
            bool freed = false;
            nodes_.on_give_back([&] { freed = true; });
            processor_.before_flush = [&] { freed_first = freed_first || freed; };
            fill(0, pages_2m);
            (void)zap(0, pages_2m);
            nodes_.on_give_back(nullptr);
            EXPECT_TRUE(freed_first) << "the order test would pass over it";
        }
    };
    Bug().TestBody();
}

TEST(TablePlanted, FreeBeforeGraceIsFound) {
    const Planted bug(Plant::free_before_grace);
    test::ProbeNodes nodes(16);
    PageTable<Format, AtomicEntryMemory, test::ProbeNodes> table(nodes);
    ASSERT_EQ(map_alone(table, GfnRange{Gfn{0}, pages_2m}, Hvp{0}, all), pages_2m);
    EXPECT_TRUE(reader_loses_its_page(nodes, table));
}

}  // namespace
}  // namespace penumbra::mmu
