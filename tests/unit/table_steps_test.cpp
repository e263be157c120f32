// Walks over ranges in steps: bounded, forward whatever tables become between steps, and every leaf seen.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <thread>
#include <vector>

#include "shadow-mmu/format/ept_format.hpp"
#include "shadow-mmu/table/collapse.hpp"
#include "shadow-mmu/table/range_steps.hpp"
#include "shadow-mmu/table/split.hpp"
#include "shadow-mmu/table/zap.hpp"
#include "tests/support/table_probe.hpp"

namespace penumbra::mmu {
namespace {

using test::pages_1g;
using test::pages_2m;

constexpr Rights all = rights_of(Permission::read_write);

class TableSteps : public testing::Test {
protected:
    using Table = PageTable<EptFormat, AtomicEntryMemory, test::ProbeNodes>;
    using Steps = RangeSteps<Table>;
    using Processor = test::ModelledProcessor<Table>;

    void fill(std::uint64_t first, std::uint64_t pages) {
        for (std::uint64_t i = 0; i < pages; ++i)
            ASSERT_TRUE(test::install(table_, Gfn{first + i}, Hvp{first + i}, all));
    }
    Table table_{test::ProbeNodes(64)};
    Processor processor_{table_};
};

TEST_F(TableSteps, EachStepIsBoundedAndTheWalkEnds) {
    fill(0, 3 * pages_2m);
    Steps steps(table_, GfnRange{Gfn{0}, 511 * pages_1g}, pages_2m);
    unsigned seen = 0;
    unsigned count = 0;
    while (!steps.done()) {
        const unsigned before = seen;
        steps.step(Steps::Owned::wait, [&](Gfn, const auto&, std::uint64_t) {
            ++seen;
            return Visit::next;
        });
        ASSERT_LE(seen - before, pages_2m);
        ++count;
    }
    EXPECT_EQ(seen, 3 * pages_2m);
    EXPECT_LE(count, 10U) << "what has no table page is passed over in strides";
}

TEST_F(TableSteps, TablesMayChangeBetweenSteps) {
    fill(0, 3 * pages_2m);
    FlushBatch<Processor> batch(processor_);
    Steps steps(table_, GfnRange{Gfn{0}, 3 * pages_2m}, 1);
    std::vector<std::pair<std::uint64_t, Level>> seen;
    const auto note = [&](Gfn gfn, const auto& cursor, std::uint64_t) {
        seen.emplace_back(gfn.value(), cursor.level);
        return seen.size() % 100 == 0 ? Visit::stop : Visit::next;  // the stopped frame comes again
    };
    while (!steps.done()) {
        steps.step(Steps::Owned::wait, note);
        if (steps.next() == Gfn{99}) {
            ASSERT_EQ(collapse(table_, Gfn{pages_2m}, Level::page_2m, batch), CollapseResult::done);
            Zapper<Table, Processor> zapper(table_, processor_);
            zapper.zap(GfnRange{Gfn{2 * pages_2m}, pages_2m / 2}, TablePages::reclaim,
                       [](Gfn, std::uint64_t, Level) {});
        }
    }
    EXPECT_TRUE(std::ranges::is_sorted(seen));
    EXPECT_EQ(std::ranges::count(seen, std::pair(pages_2m, Level::page_2m)), 1) << "the large leaf, once";
    EXPECT_EQ(seen.back(), std::pair(3 * pages_2m - 1, Level::page_4k));
    std::set<std::uint64_t> frames;
    for (const auto& [gfn, level] : seen) frames.insert(gfn);
    EXPECT_EQ(frames.size(), pages_2m + 1 + pages_2m / 2);
}

TEST_F(TableSteps, WaitsForWhatIsInHandOrPassesItOver) {
    fill(0, 4);
    const auto cursor = table_.walk(Gfn{2}, Level::page_4k);
    const std::uint64_t raw = cursor.slot->load();
    ASSERT_TRUE((transition<EptFormat, AtomicEntryMemory>(*cursor.slot, raw, EptFormat::frozen(raw), Level::page_4k,
                                                          table_.counters())));
    std::vector<std::uint64_t> seen;
    const auto note = [&](Gfn gfn, const auto&, std::uint64_t) {
        seen.push_back(gfn.value());
        return Visit::next;
    };
    Steps(table_, GfnRange{Gfn{0}, 4}).run(Steps::Owned::skip, note);
    EXPECT_EQ(seen, (std::vector<std::uint64_t>{0, 1, 3}));
    seen.clear();
    std::jthread waits([&] { Steps(table_, GfnRange{Gfn{0}, 4}).run(Steps::Owned::wait, note); });
    settle<EptFormat, AtomicEntryMemory>(*cursor.slot, EptFormat::frozen(raw), raw, Level::page_4k, table_.counters());
    waits.join();
    EXPECT_EQ(seen, (std::vector<std::uint64_t>{0, 1, 2, 3}));
}

}  // namespace
}  // namespace penumbra::mmu
