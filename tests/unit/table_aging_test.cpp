// Ageing and dirty tracking on formats whose walker sets A and D, and on those where both are emulated.
#include <gtest/gtest.h>

#include <set>

#include "shadow-mmu/format/device_format.hpp"
#include "shadow-mmu/format/ept_format.hpp"
#include "shadow-mmu/format/x86_format.hpp"
#include "shadow-mmu/table/aging.hpp"
#include "shadow-mmu/table/dirty_tracking.hpp"
#include "tests/support/table_probe.hpp"

namespace penumbra::mmu {
namespace {

using test::pages_2m;

constexpr Rights all = rights_of(Permission::read_write);

template <class F>
class TableAging : public testing::Test {
protected:
    using Format = F;
    using Table = PageTable<Format, AtomicEntryMemory, test::ProbeNodes>;
    using Processor = test::ModelledProcessor<Table>;
    static constexpr bool hardware = F::accessed_dirty == AccessedDirty::hardware;
    static constexpr std::uint64_t pages = 700;
    static constexpr GfnRange everything{Gfn{0}, pages};

    void SetUp() override {
        for (std::uint64_t i = 0; i < pages; ++i) ASSERT_TRUE(test::install(table_, Gfn{i}, Hvp{i + 4096}, all));
    }
    /// What a guest does: an access that faults is granted, marked where it may write from now on, and tried again.
    void access(std::uint64_t gfn, Touch touch) {
        if (processor_.access(Gfn{gfn}, touch) == Hvp{gfn + 4096}) return;
        ASSERT_TRUE(test::grant(table_, Gfn{gfn}, touch));
        if (touch == Touch::write) log_.mark(Gfn{gfn});
        ASSERT_EQ(processor_.access(Gfn{gfn}, touch), Hvp{gfn + 4096});
    }
    bool young(std::uint64_t gfn) { return test_young(table_, GfnRange{Gfn{gfn}, 1}); }
    std::set<std::uint64_t> harvest(DirtyTracking<Table>& tracking) {
        std::set<std::uint64_t> found;
        FlushBatch<Processor> batch(processor_);
        tracking.harvest(everything, batch, [&](Gfn gfn) { EXPECT_TRUE(found.insert(gfn.value()).second); });
        return found;
    }
    void begin(DirtyTracking<Table>& tracking) {
        FlushBatch<Processor> batch(processor_);
        tracking.begin(everything, batch);
    }
    void track_writes(DirtyMode mode) {
        DirtyTracking<Table> tracking(table_, log_, mode);
        access(1, Touch::write);
        begin(tracking);
        (void)harvest(tracking);
        EXPECT_TRUE(harvest(tracking).empty());
        access(2, Touch::read);
        access(3, Touch::write);
        access(600, Touch::write);
        access(600, Touch::write);
        EXPECT_EQ(harvest(tracking), (std::set<std::uint64_t>{3, 600}));
        EXPECT_TRUE(harvest(tracking).empty());
        access(3, Touch::write);  // by a translation that was cached as dirty or writable before the harvest
        EXPECT_EQ(harvest(tracking), (std::set<std::uint64_t>{3}));
        // Ageing takes W without a flush: the page is still harvested, and the writer made to leave a new mark.
        access(5, Touch::write);
        (void)clear_young(table_, everything, [this](Gfn gfn, std::uint64_t, Level) { log_.mark(gfn); });
        EXPECT_TRUE(harvest(tracking).contains(5));
        access(5, Touch::write);
        EXPECT_EQ(harvest(tracking), (std::set<std::uint64_t>{5}));
    }

    Table table_{test::ProbeNodes(16)};
    Processor processor_{table_};
    Memslots slots_{{{GfnRange{Gfn{0}, pages}, Hvp{4096}}}};
    DirtyBitmap log_{slots_};
};
using Formats = testing::Types<EptFormat, EptFormatOf<Level::top_4, AccessedDirty::hardware>, X86Format,
                               X86FormatOf<Level::top_5, AccessedDirty::hardware>, DeviceFormat,
                               DeviceFormatOf<Level::top_4, AccessedDirty::hardware>>;
TYPED_TEST_SUITE(TableAging, Formats);

TYPED_TEST(TableAging, AQueryChangesNothing) {
    const auto before = this->table_.lookup(Gfn{7}).raw;
    for (unsigned i = 0; i < 3; ++i) EXPECT_TRUE(test_young(this->table_, this->everything));
    EXPECT_EQ(this->table_.lookup(Gfn{7}).raw, before) << "QueryClearsNothing";
}

TYPED_TEST(TableAging, ClearTellsOnceUntilTheNextAccess) {
    const auto nobody = [](Gfn, std::uint64_t, Level) {};
    EXPECT_TRUE(clear_young(this->table_, this->everything, nobody));
    EXPECT_FALSE(clear_young(this->table_, this->everything, nobody));
    EXPECT_FALSE(test_young(this->table_, this->everything));
    this->access(8, Touch::read);
    EXPECT_TRUE(this->young(8));
    EXPECT_FALSE(this->young(9));
    EXPECT_FALSE(test_young(this->table_, GfnRange{Gfn{9}, 691}));
    EXPECT_EQ(this->processor_.flushes, 0U);
}

TYPED_TEST(TableAging, AnAccessGivesExactlyTheOldRightsBack) {
    const auto before = this->table_.lookup(Gfn{8}).raw;
    std::set<std::uint64_t> lost;
    (void)clear_young(this->table_, this->everything, [&](Gfn gfn, std::uint64_t leaf, Level) {
        EXPECT_TRUE(TypeParam::writable(leaf));
        lost.insert(gfn.value());
    });
    EXPECT_EQ(lost.size(), this->hardware ? 0U : this->pages) << "without D bits W is what tells of writes";
    this->access(8, Touch::read);
    const auto read = this->table_.lookup(Gfn{8}).raw;
    EXPECT_EQ(TypeParam::writable(read), this->hardware) << "a read does not grant writes";
    EXPECT_TRUE(TypeParam::rights(read).has(Right::execute) == TypeParam::rights(before).has(Right::execute));
    this->access(8, Touch::write);
    EXPECT_EQ(this->table_.lookup(Gfn{8}).raw, before);
}

TYPED_TEST(TableAging, ClearAndFlushSeesTheNextAccess) {
    const auto nobody = [](Gfn, std::uint64_t, Level) {};
    this->access(8, Touch::read);
    FlushBatch<typename TestFixture::Processor> batch(this->processor_);
    EXPECT_TRUE(clear_flush_young(this->table_, this->everything, batch, nobody));
    EXPECT_EQ(this->processor_.flushes, 1U);
    EXPECT_FALSE(this->processor_.caches(Gfn{8}));
    this->access(8, Touch::read);
    EXPECT_TRUE(this->young(8));
    EXPECT_TRUE(clear_flush_young(this->table_, this->everything, batch, nobody));
    EXPECT_FALSE(clear_flush_young(this->table_, this->everything, batch, nobody));
    EXPECT_EQ(this->processor_.flushes, 2U) << "nothing was young: nothing to flush";
}

TYPED_TEST(TableAging, EntriesInHandArePassedOver) {
    const auto nobody = [](Gfn, std::uint64_t, Level) {};
    const auto cursor = this->table_.walk(Gfn{3}, Level::page_4k);
    const std::uint64_t raw = cursor.slot->load();
    cursor.slot->store(TypeParam::frozen(raw));
    EXPECT_TRUE(clear_young(this->table_, this->everything, nobody));
    EXPECT_FALSE(test_young(this->table_, this->everything));
    EXPECT_EQ(cursor.slot->load(), TypeParam::frozen(raw)) << "its A and D bits are the zapper's";
}

TYPED_TEST(TableAging, WritesAreHarvestedByProtection) { this->track_writes(DirtyMode::write_protect); }

TYPED_TEST(TableAging, WritesAreHarvestedByDirtyBitsWhereTheWalkerSetsThem) {
    if (this->hardware) return this->track_writes(DirtyMode::dirty_bit);
    EXPECT_DEATH((DirtyTracking<typename TestFixture::Table>(this->table_, this->log_, DirtyMode::dirty_bit)),
                 "dirty bits that nobody sets");
}

TYPED_TEST(TableAging, ALargeLeafIsProtectedAsAWhole) {
    constexpr Gfn large{4 * pages_2m};
    ASSERT_TRUE(test::install(this->table_, large, Hvp{4 * pages_2m}, all, Level::page_2m));
    const DirtyMode mode = this->hardware ? DirtyMode::dirty_bit : DirtyMode::write_protect;
    DirtyTracking<typename TestFixture::Table> tracking(this->table_, this->log_, mode);
    FlushBatch<typename TestFixture::Processor> batch(this->processor_);
    ASSERT_TRUE(this->processor_.access(large + 9, Touch::write));
    tracking.begin(GfnRange{large, pages_2m}, batch);
    EXPECT_FALSE(this->processor_.access(large + 9, Touch::write));
    EXPECT_TRUE(this->processor_.access(large + 9, Touch::read));
}

TEST(DirtyLog, MarksAndTakesWithinTheSlots) {
    const Memslots slots({{GfnRange{Gfn{100}, 200}, Hvp{0}}, {GfnRange{Gfn{1024}, 1024}, Hvp{512}}});
    DirtyBitmap log(slots);
    log.mark(Gfn{99});
    log.mark(Gfn{299});
    log.mark(Gfn{1500}, 512);
    log.mark(Gfn{100});
    EXPECT_TRUE(log.test(Gfn{299}));
    EXPECT_TRUE(log.test(Gfn{1024}));
    EXPECT_FALSE(log.test(Gfn{1536}));
    std::vector<Gfn> taken;
    log.take(GfnRange{Gfn{0}, 1030}, taken);
    EXPECT_EQ(taken,
              (std::vector<Gfn>{Gfn{100}, Gfn{299}, Gfn{1024}, Gfn{1025}, Gfn{1026}, Gfn{1027}, Gfn{1028}, Gfn{1029}}));
    taken.clear();
    log.take(GfnRange{Gfn{0}, 4096}, taken);
    EXPECT_EQ(taken.size(), 506U);
    EXPECT_EQ(taken.front(), Gfn{1030});
}

TEST(DirtyLog, AFullRingMeansEverything) {
    DirtyRing ring(3);
    std::vector<Gfn> taken;
    for (const std::uint64_t gfn : {5U, 6U, 7U}) ring.push(Gfn{gfn});
    EXPECT_EQ(ring.drain(taken), DirtyRing::Drained::listed);
    EXPECT_EQ(taken, (std::vector<Gfn>{Gfn{5}, Gfn{6}, Gfn{7}}));
    for (const std::uint64_t gfn : {1U, 2U, 3U, 4U}) ring.push(Gfn{gfn});
    taken.clear();
    EXPECT_EQ(ring.drain(taken), DirtyRing::Drained::everything);
    EXPECT_TRUE(taken.empty());
    ring.push(Gfn{9});
    EXPECT_EQ(ring.drain(taken), DirtyRing::Drained::listed);
    EXPECT_EQ(taken, (std::vector<Gfn>{Gfn{9}}));
}

TEST(DirtyLog, TheRingListsEachPageOncePerHarvest) {
    using Table = PageTable<EptFormat, AtomicEntryMemory, test::ProbeNodes>;
    Table table{test::ProbeNodes(16)};
    test::ModelledProcessor<Table> processor(table);
    const Memslots slots({{GfnRange{Gfn{0}, 512}, Hvp{0}}});
    DirtyRing ring(4);
    DirtyBitmap log(slots, &ring);
    DirtyTracking<Table> tracking(table, log, DirtyMode::write_protect);
    FlushBatch<test::ModelledProcessor<Table>> batch(processor);
    for (std::uint64_t i = 0; i < 8; ++i) ASSERT_TRUE(test::install(table, Gfn{i}, Hvp{i}, all));
    tracking.begin(GfnRange{Gfn{0}, 512}, batch);
    const auto write = [&](std::uint64_t gfn) {
        if (processor.access(Gfn{gfn}, Touch::write)) return;
        ASSERT_TRUE(test::grant(table, Gfn{gfn}, Touch::write));
        log.mark(Gfn{gfn});
        ASSERT_TRUE(processor.access(Gfn{gfn}, Touch::write));
    };
    const auto harvest = [&] {
        std::vector<std::uint64_t> found;
        tracking.harvest_listed(ring, GfnRange{Gfn{0}, 512}, batch, [&](Gfn gfn) { found.push_back(gfn.value()); });
        return found;
    };
    for (const std::uint64_t gfn : {3U, 1U, 3U}) write(gfn);
    EXPECT_EQ(harvest(), (std::vector<std::uint64_t>{3, 1}));
    EXPECT_TRUE(harvest().empty());
    write(3);
    EXPECT_EQ(harvest(), (std::vector<std::uint64_t>{3}));
    for (std::uint64_t gfn = 0; gfn < 6; ++gfn) write(gfn);  // more than the ring holds
    EXPECT_EQ(harvest(), (std::vector<std::uint64_t>{0, 1, 2, 3, 4, 5}));
}

TEST(TablePlanted, YoungQueryThatClearsIsFound) {
    using Table = PageTable<EptFormat, AtomicEntryMemory, test::ProbeNodes>;
    Table table{test::ProbeNodes(16)};
    ASSERT_TRUE(test::install(table, Gfn{7}, Hvp{7}, all));
    const auto before = table.lookup(Gfn{7}).raw;
    const Planted bug(Plant::young_query_clears);
    EXPECT_TRUE(test_young(table, GfnRange{Gfn{0}, 16}));
    EXPECT_NE(table.lookup(Gfn{7}).raw, before) << "the query test would pass over it";
}

TEST(TablePlanted, CleanWithoutFlushIsFound) {
    using Table = PageTable<EptFormat, AtomicEntryMemory, test::ProbeNodes>;
    Table table{test::ProbeNodes(16)};
    test::ModelledProcessor<Table> processor(table);
    const Memslots slots({{GfnRange{Gfn{0}, 16}, Hvp{0}}});
    DirtyBitmap log(slots);
    DirtyTracking<Table> tracking(table, log, DirtyMode::write_protect);
    FlushBatch<test::ModelledProcessor<Table>> batch(processor);
    ASSERT_TRUE(test::install(table, Gfn{7}, Hvp{7}, all));
    ASSERT_TRUE(processor.access(Gfn{7}, Touch::write));
    const Planted bug(Plant::clean_skips_flush);
    tracking.begin(GfnRange{Gfn{0}, 16}, batch);
    EXPECT_TRUE(processor.access(Gfn{7}, Touch::write)) << "the harvest tests would not lose this write";
}

}  // namespace
}  // namespace penumbra::mmu
