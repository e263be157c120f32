// Random operations over a memory that shows every intermediate state: each address translates to what it did before
// the operation, to what it does after, or, while a zap or collapse has it frozen, to nothing. And the same with table
// pages running out at every n-th allocation: whatever came of an operation, the table is a legal one. (Model: Hedron,
// test/unit/page_table.cpp.)
#include <gtest/gtest.h>

#include <array>
#include <random>
#include <set>
#include <vector>

#include "shadow-mmu/format/device_format.hpp"
#include "shadow-mmu/format/ept_format.hpp"
#include "shadow-mmu/format/x86_format.hpp"
#include "shadow-mmu/table/aging.hpp"
#include "shadow-mmu/table/bulk.hpp"
#include "shadow-mmu/table/collapse.hpp"
#include "shadow-mmu/table/zap.hpp"
#include "tests/support/history_memory.hpp"
#include "tests/support/table_probe.hpp"

namespace penumbra::mmu {
namespace {

using test::HistoryMemory;
using test::HistoryScope;
using test::pages_1g;
using test::pages_2m;

constexpr Rights all = rights_of(Permission::read_write);

/// Three regions of 2 MiB in one gigabyte, and one gigabyte that may be a single leaf; looked at where leaves begin and
/// end.
template <class F>
class TableHistory : public testing::Test {
protected:
    using Format = F;
    using Table = PageTable<Format, HistoryMemory, test::ProbeNodes>;
    using Processor = test::ModelledProcessor<Table>;
    using Translation = std::optional<Hvp>;
    static constexpr std::uint64_t regions = 3;
    static constexpr std::uint64_t giga = 2 * pages_1g;

    static std::vector<Gfn> samples() {
        std::vector<Gfn> frames;
        for (std::uint64_t region = 0; region < regions; ++region) {
            for (const std::uint64_t i : {0U, 1U, 200U, 511U}) frames.push_back(Gfn{region * pages_2m + i});
        }
        for (const std::uint64_t i : {std::uint64_t{0}, pages_2m - 1, pages_2m, pages_1g - 1}) {
            frames.push_back(Gfn{giga + i});
        }
        return frames;
    }
    std::vector<Translation> snapshot() {
        std::vector<Translation> now;
        for (const Gfn gfn : samples_) now.push_back(table_.translate(gfn));
        return now;
    }
    /// Runs one operation with every intermediate state kept, and judges them when the last is known.
    template <class Operation>
    void watched(bool may_unmap, Operation&& operation) {
        const std::vector<Translation> before = snapshot();
        std::set<std::pair<std::size_t, Translation>> seen;
        HistoryMemory::observe([&] {
            for (std::size_t i = 0; i < samples_.size(); ++i) {
                const Translation now = table_.translate(samples_[i]);
                if (now != before[i]) seen.emplace(i, now);
            }
        });
        operation();
        HistoryMemory::observe(nullptr);
        const std::vector<Translation> after = snapshot();
        for (const auto& [i, state] : seen) {
            if (state == after[i] || (may_unmap && !state)) continue;
            ADD_FAILURE() << "frame " << samples_[i].value() << " translated to neither the old nor the new";
        }
    }
    GfnRange random_range() {
        const std::array<std::uint64_t, 5> edges{0, pages_2m, 2 * pages_2m, 3 * pages_2m, random_() % (3 * pages_2m)};
        const std::uint64_t a = edges[random_() % 5];
        const std::uint64_t b = edges[random_() % 5];
        if (random_() % 8 == 0) return GfnRange{Gfn{giga}, pages_1g};
        return GfnRange{Gfn{std::min(a, b)}, std::max(a, b) - std::min(a, b) + 1};
    }
    void step() {
        const Gfn gfn = samples_[random_() % samples_.size()];
        const Hvp host{(4 + random_() % 2 * 4) * pages_1g};  // congruent with any size
        const Rights rights = random_() % 3 == 0 ? Right::execute | Right::user : all;
        const Gfn region{gfn.value() / pages_2m * pages_2m};
        switch (random_() % 10) {
            case 0:
            case 1:
                return watched(false, [&] { (void)test::install(table_, gfn, host + gfn.value(), rights); });
            case 2:
                return watched(
                    false, [&] { (void)test::install(table_, region, host + region.value(), rights, Level::page_2m); });
            case 3:
                return watched(false, [&] { (void)test::install(table_, Gfn{giga}, host, rights, Level::page_1g); });
            case 4:
                return watched(false, [&] { (void)split(table_, gfn); });
            case 5:
            case 6:
                return watched(true, [&] { collapse_at(region); });
            case 7:
                return watched(
                    false, [&] { (void)map_alone(table_, GfnRange{region, pages_2m}, host + region.value(), rights); });
            case 8:
                return watched(true, [&] { zap(random_range()); });
            default:
                return watched(true, [&] {
                    (void)clear_young(table_, random_range(), [](Gfn, std::uint64_t, Level) {});
                    (void)test::grant(table_, gfn, random_() % 2 == 0 ? Touch::read : Touch::write);
                });
        }
    }
    void collapse_at(Gfn gfn) {
        FlushBatch<Processor> batch(processor_);
        if (collapse(table_, gfn, Level::page_2m, batch) == CollapseResult::done) ++collapsed_;
    }
    void zap(GfnRange range) {
        Zapper<Table, Processor> zapper(table_, processor_);
        zapper.zap(range, random_() % 2 == 0 ? TablePages::keep : TablePages::reclaim,
                   [](Gfn, std::uint64_t, Level) {});
    }
    void expect_legal() {
        const test::TreeSum sum = test::sum_of(table_);
        ASSERT_EQ(sum.broken, 0U);
        ASSERT_EQ(table_.counters().mapped.get() - table_.counters().zapped.get(), sum.pages);
        table_.reclaim();
        ASSERT_EQ(nodes_.allocated(), sum.nodes);
        ASSERT_EQ(nodes_.dirty(), 0U);
    }

    const HistoryScope history_;
    const std::vector<Gfn> samples_ = samples();
    std::mt19937_64 random_{1};
    test::ProbeNodes nodes_{600};
    Table table_{nodes_};
    Processor processor_{table_};
    unsigned collapsed_ = 0;
};
using Formats = testing::Types<EptFormat, EptFormatOf<Level::top_5, AccessedDirty::hardware>, X86Format,
                               X86FormatOf<Level::top_5, AccessedDirty::hardware>, DeviceFormat,
                               DeviceFormatOf<Level::top_4, AccessedDirty::hardware>>;
TYPED_TEST_SUITE(TableHistory, Formats);

TYPED_TEST(TableHistory, EveryStateIsTheOldOrTheNewTranslation) {
    for (unsigned i = 0; i < 250 && !this->HasFailure(); ++i) {
        this->step();
        if (i % 25 == 0) this->expect_legal();
    }
    EXPECT_GT(this->collapsed_, 0U);
    EXPECT_GT(this->table_.counters().splits.get(), 0U);
    EXPECT_TRUE(HistoryMemory::complete());
    this->expect_legal();
}

TYPED_TEST(TableHistory, RunningOutOfTablePagesLeavesALegalTable) {
    for (std::uint64_t n = 1; n <= 6; ++n) {
        this->nodes_.fail_every(n);
        for (unsigned i = 0; i < 40 && !this->HasFailure(); ++i) {
            this->step();
            this->expect_legal();
        }
    }
    EXPECT_GT(this->nodes_.failures(), 20U);
    this->nodes_.fail_every(std::nullopt);
    this->zap(GfnRange{Gfn{0}, 512 * pages_1g});
    EXPECT_EQ(test::sum_of(this->table_).pages, 0U);
    this->expect_legal();
}

}  // namespace
}  // namespace penumbra::mmu
