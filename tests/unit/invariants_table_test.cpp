// The page table's share of docs/invariants.md that no other test holds.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <thread>

#include "notifier-bridge/interval_subscription.hpp"
#include "shadow-mmu/format/device_format.hpp"
#include "shadow-mmu/format/ept_format.hpp"
#include "shadow-mmu/format/x86_format.hpp"
#include "shadow-mmu/table/aging.hpp"
#include "shadow-mmu/table/populate.hpp"
#include "shadow-mmu/table/zap.hpp"
#include "tests/support/table_probe.hpp"

namespace penumbra::mmu::invariants {
namespace {

using test::pages_2m;

constexpr Rights all = rights_of(Permission::read_write);
constexpr auto nobody = [](Gfn, std::uint64_t, Level) {};

template <class Format>
void expect_lawful_rights_only() {
    const std::uint64_t leaf = Format::leaf(Hvp{512}, all, Level::page_2m);
    const std::uint64_t no_consent = leaf & ~Format::mmu_writable;
    const std::uint64_t no_host = Format::write_protected(leaf) & ~Format::host_writable;
    for (const std::uint64_t wrong : {no_consent, no_host, leaf & ~Format::host_writable}) {
        EXPECT_FALSE(is_legal<Format>(Format::busy(), wrong, Level::page_2m));
        EXPECT_FALSE(is_legal<Format>(leaf, wrong, Level::page_2m));
    }
    for (const std::uint64_t lawful : {leaf, Format::write_protected(leaf), Format::write_tracked(leaf),
                                       Format::leaf(Hvp{512}, Right::execute, Level::page_2m)}) {
        EXPECT_TRUE(is_legal<Format>(Format::busy(), lawful, Level::page_2m));
    }
    const std::uint64_t tracked = Format::write_tracked(leaf);
    EXPECT_FALSE(is_legal<Format>(tracked, Format::aged(tracked) & ~Format::host_writable, Level::page_2m))
        << "what the host permits stays while the leaf does";
    EXPECT_FALSE(is_legal<Format>(leaf, tracked & ~Format::host_writable, Level::page_2m));
}

TEST(InvariantsEntries, AWriteNeedsTheMmusConsentAndThatTheHosts) {
    expect_lawful_rights_only<EptFormat>();
    expect_lawful_rights_only<X86FormatOf<Level::top_5, AccessedDirty::hardware>>();
    expect_lawful_rights_only<DeviceFormat>();
}

TEST(InvariantsEntries, ATableIsNotOverwrittenByALeaf) {
    using Table = PageTable<EptFormat, AtomicEntryMemory, test::ProbeNodes>;
    Table table{test::ProbeNodes(16)};
    ASSERT_TRUE(test::install(table, Gfn{pages_2m + 3}, Hvp{9}, all));
    EXPECT_FALSE(test::install(table, Gfn{pages_2m}, Hvp{pages_2m}, all, Level::page_2m));
    const auto cursor = table.walk(Gfn{pages_2m}, Level::page_2m);
    const std::uint64_t link = cursor.slot->load();
    EXPECT_FALSE(is_legal<EptFormat>(link, EptFormat::leaf(Hvp{pages_2m}, all, Level::page_2m), Level::page_2m));
    EXPECT_EQ(table.translate(Gfn{pages_2m + 3}), Hvp{9});
}

/// Lets the walker of the table in between each look at an entry and the exchange that follows.
struct RacedMemory : AtomicEntryMemory {
    inline static std::function<void()> before_exchange;
    [[nodiscard]] static bool compare_exchange(Slot& slot, std::uint64_t expected, std::uint64_t desired) {
        if (before_exchange) std::exchange(before_exchange, nullptr)();
        return AtomicEntryMemory::compare_exchange(slot, expected, desired);
    }
};

TEST(InvariantsEntries, WhatTheWalkerMarksMeanwhileIsNotLost) {
    using Format = EptFormatOf<Level::top_4, AccessedDirty::hardware>;
    using Table = PageTable<Format, RacedMemory, test::ProbeNodes>;
    Table table{test::ProbeNodes(16)};
    test::ModelledProcessor<Table> processor(table);
    ASSERT_TRUE(test::install(table, Gfn{7}, Hvp{7}, all));
    const auto cursor = table.walk(Gfn{7}, Level::page_4k);
    const auto written = [&] { EXPECT_EQ(processor.access(Gfn{7}, Touch::write), Hvp{7}); };
    cursor.slot->store(Format::cleaned(cursor.slot->load()));
    RacedMemory::before_exchange = written;
    EXPECT_TRUE(clear_young(table, GfnRange{Gfn{0}, 16}, nobody));
    EXPECT_TRUE(Format::is_dirty(cursor.slot->load())) << "written between look and ageing";
    processor.flush_all();
    cursor.slot->store(Format::aged(Format::cleaned(cursor.slot->load())));
    RacedMemory::before_exchange = written;
    unsigned dirty = 0;
    Zapper<Table, test::ModelledProcessor<Table>> zapper(table, processor);
    zapper.zap(GfnRange{Gfn{0}, 16}, TablePages::keep, [&](Gfn, std::uint64_t leaf, Level) {
        dirty += Format::is_dirty(leaf) && Format::young(leaf) ? 1U : 0U;
    });
    EXPECT_EQ(dirty, 1U) << "written between look and freeze";
}

TEST(InvariantsMemory, AZapFinishesWhatItOwnsBeforeItWaits) {
    using Table = PageTable<EptFormat, AtomicEntryMemory, test::ProbeNodes>;
    Table table{test::ProbeNodes(16)};
    test::ModelledProcessor<Table> processor(table);
    for (std::uint64_t i = 0; i < 3; ++i) ASSERT_TRUE(test::install(table, Gfn{i}, Hvp{i}, all));
    ASSERT_TRUE(processor.access(Gfn{2}, Touch::read));
    const auto claimed = table.find_or_create(Gfn{3});
    ASSERT_TRUE((transition<EptFormat, AtomicEntryMemory>(*claimed.slot, 0, EptFormat::busy(), Level::page_4k,
                                                          table.counters())));
    std::jthread zapping([&] {
        Zapper<Table, test::ModelledProcessor<Table>> zapper(table, processor);
        zapper.zap(GfnRange{Gfn{0}, 16}, TablePages::keep, nobody);
    });
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds{200};
    while (table.lookup(Gfn{2}).raw != 0 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    EXPECT_EQ(table.lookup(Gfn{2}).raw, 0U) << "frozen while its zap waits for another";
    EXPECT_EQ(table.lookup(Gfn{3}).raw, EptFormat::busy());
    settle<EptFormat, AtomicEntryMemory>(*claimed.slot, EptFormat::busy(), 0, Level::page_4k, table.counters());
    zapping.join();
    EXPECT_EQ(test::sum_of(table).pages, 0U);
}

TEST(InvariantsMemory, AWalkThatFindsNoTablePageWaitsForNobody) {
    using Table = PageTable<EptFormat, AtomicEntryMemory, test::ProbeNodes>;
    Table table{test::ProbeNodes(5)};
    test::ModelledProcessor<Table> processor(table);
    ASSERT_TRUE(test::install(table, Gfn{0}, Hvp{0}, all));
    ASSERT_TRUE(test::install(table, Gfn{pages_2m}, Hvp{1}, all));
    Zapper<Table, test::ModelledProcessor<Table>> zapper(table, processor);
    zapper.zap(GfnRange{Gfn{0}, pages_2m}, TablePages::reclaim, nobody);
    {
        const rcu::ReadSection section;
        EXPECT_EQ(table.find_or_create(Gfn{2 * pages_2m}).slot, nullptr) << "the free one may still be walked";
    }
    EXPECT_TRUE(table.reclaim());
    EXPECT_NE(table.find_or_create(Gfn{2 * pages_2m}).slot, nullptr);
}

class InvariantsPopulate : public testing::Test {
protected:
    using Table = PageTable<EptFormat, AtomicEntryMemory, test::ProbeNodes>;
    using Sequence = bridge::IntervalSubscription::Sequence;
    static constexpr GfnRange range{Gfn{100}, 600};

    PopulateResult run(Rights rights, Sequence sample) {
        return populate(table_, range, Hvp{512}, rights, [&](GfnRange, HvpRange pages) {
            ++fills_;
            return fills_ != refused_fill_ && !sequence_.read_retry(pages.first(), sample);
        });
    }
    Sequence sample() { return *sequence_.read_begin(Hvp{512}, std::chrono::steady_clock::time_point{}); }
    std::uint64_t mapped() {
        std::uint64_t pages = 0;
        for (Gfn gfn = range.first(); gfn < range.end(); ++gfn) pages += table_.translate(gfn) ? 1U : 0U;
        return pages;
    }

    Table table_{test::ProbeNodes(16)};
    bridge::IntervalSubscription sequence_;
    unsigned fills_ = 0;
    unsigned refused_fill_ = 0;
};

TEST_F(InvariantsPopulate, NothingIsMappedAheadAcrossAnInvalidationOrBeyondItsRights) {
    const Sequence before = sample();
    const bridge::RangeSet pages(HvpRange{Hvp{512}, 512});
    sequence_.hold_off(pages);
    EXPECT_EQ(run(Right::execute, before), PopulateResult::refused);
    EXPECT_EQ(mapped(), 0U);
    sequence_.lift(pages);
    EXPECT_EQ(run(Right::execute, before), PopulateResult::refused) << "one began and ended since the sample";
    EXPECT_EQ(mapped(), 0U);
    (void)run(Right::execute, sample());
    EXPECT_GT(mapped(), 0U);
    for (Gfn gfn = range.first(); gfn < range.end(); ++gfn) {
        const std::uint64_t raw = table_.lookup(gfn).raw;
        ASSERT_FALSE(EptFormat::writable(raw) || EptFormat::may_grant_write(raw)) << gfn.value();
    }
}

TEST_F(InvariantsPopulate, ProgressStaysAndARefusalIsTriedAgain) {
    refused_fill_ = 3;
    EXPECT_EQ(run(all, sample()), PopulateResult::refused);
    const std::uint64_t first = mapped();
    EXPECT_GT(first, 0U);
    EXPECT_LT(first, range.pages());
    EXPECT_EQ(run(all, sample()), PopulateResult::done);
    EXPECT_EQ(mapped(), range.pages());
    EXPECT_EQ(table_.counters().mapped.get(), range.pages()) << "no page twice";
    EXPECT_EQ(table_.counters().zapped.get(), 0U);
    Table small{test::ProbeNodes(2)};
    EXPECT_EQ(populate(small, range, Hvp{512}, all, [](GfnRange, HvpRange) { return true; }),
              PopulateResult::out_of_memory);
}

}  // namespace
}  // namespace penumbra::mmu::invariants
