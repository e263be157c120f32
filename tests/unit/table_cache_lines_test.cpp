// Which cache lines an operation on a table writes, counted by a memory that notes them: a lookup writes none, a fault
// the line of its entry alone, a zap those of the entries it takes out.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <set>
#include <thread>
#include <vector>

#include "base/striped_counter.hpp"
#include "shadow-mmu/format/ept_format.hpp"
#include "shadow-mmu/table/populate.hpp"
#include "shadow-mmu/table/zap.hpp"
#include "tests/support/table_probe.hpp"

namespace penumbra::mmu {
namespace {

using test::pages_2m;

constexpr Rights all = rights_of(Permission::read_write);

/// AtomicEntryMemory that notes what it writes. One thread.
struct NotingMemory : AtomicEntryMemory {
    static bool compare_exchange(Slot& slot, std::uint64_t expected, std::uint64_t desired) {
        ++locked;
        lines.insert(reinterpret_cast<std::uintptr_t>(&slot) / 64);
        return AtomicEntryMemory::compare_exchange(slot, expected, desired);
    }
    static void store(Slot& slot, std::uint64_t from, std::uint64_t to) {
        ++plain;
        lines.insert(reinterpret_cast<std::uintptr_t>(&slot) / 64);
        AtomicEntryMemory::store(slot, from, to);
    }
    static void forget() {
        locked = plain = 0;
        lines.clear();
    }
    inline static unsigned locked = 0;
    inline static unsigned plain = 0;
    inline static std::set<std::uintptr_t> lines;
};

struct NoFlush {
    using Run = GfnRange;
    static constexpr std::size_t capacity = 4;
    void flush(std::span<const GfnRange>) const {}
    void flush_all() const {}
};

class TableCacheLines : public testing::Test {
protected:
    using Table = PageTable<EptFormat, NotingMemory, test::ProbeNodes>;

    TableCacheLines() {
        EXPECT_TRUE(test::install(table_, Gfn{0}, Hvp{4096}, all));
        NotingMemory::forget();
    }
    Table table_{test::ProbeNodes(16)};
};

TEST_F(TableCacheLines, ALookupWritesNothing) {
    EXPECT_TRUE(table_.translate(Gfn{0}));
    EXPECT_FALSE(table_.translate(Gfn{1}));
    EXPECT_EQ(table_.lookup<LoadOrder::ordered>(Gfn{3 * pages_2m}).raw, 0U);
    EXPECT_TRUE(NotingMemory::lines.empty());
}

TEST_F(TableCacheLines, AnInstallWritesItsEntryTwiceAndLocksOnce) {
    EXPECT_TRUE(test::install(table_, Gfn{9}, Hvp{4096 + 9}, all));
    EXPECT_EQ(NotingMemory::lines.size(), 1U);
    EXPECT_EQ(NotingMemory::locked, 1U);
    EXPECT_EQ(NotingMemory::plain, 1U);
}

TEST_F(TableCacheLines, ARangeAndItsZapWriteTheirEntriesAlone) {
    const auto fill = [](GfnRange, HvpRange) { return true; };
    ASSERT_EQ(populate(table_, GfnRange{Gfn{8}, 128}, Hvp{8}, all, fill), PopulateResult::done);
    EXPECT_EQ(NotingMemory::lines.size(), 128U / 8);
    EXPECT_EQ(NotingMemory::locked, 128U);
    NotingMemory::forget();
    NoFlush target;
    Zapper<Table, NoFlush> zapper(table_, target);
    zapper.zap(GfnRange{Gfn{8}, 128}, TablePages::keep, [](Gfn, std::uint64_t, Level) {});
    EXPECT_EQ(NotingMemory::lines.size(), 128U / 8);
    EXPECT_EQ(NotingMemory::locked, 128U);
    EXPECT_EQ(NotingMemory::plain, 128U);
}

TEST_F(TableCacheLines, PopulateLeavesOthersEntriesAlone) {
    const auto cursor = table_.find_or_create(Gfn{20});
    ASSERT_TRUE(
        (transition<EptFormat, NotingMemory>(*cursor.slot, 0, EptFormat::busy(), Level::page_4k, table_.counters())));
    std::uint64_t filled = 0;
    const auto fill = [&](GfnRange guest, HvpRange host) {
        EXPECT_EQ(guest.first().value(), host.first().value());
        filled += guest.pages();
        return true;
    };
    ASSERT_EQ(populate(table_, GfnRange{Gfn{0}, 30}, Hvp{0}, all, fill), PopulateResult::done);
    EXPECT_EQ(filled, 28U) << "all but the one that was there and the one in hand";
    EXPECT_EQ(cursor.slot->load(), EptFormat::busy());
    EXPECT_EQ(table_.translate(Gfn{0}), Hvp{4096});
    EXPECT_EQ(table_.translate(Gfn{29}), Hvp{29});
    const auto refuse = [](GfnRange, HvpRange) { return false; };
    EXPECT_EQ(populate(table_, GfnRange{Gfn{30}, 5}, Hvp{30}, all, refuse), PopulateResult::refused);
    EXPECT_EQ(table_.lookup(Gfn{30}).raw, 0U);
}

TEST(StripedCounter, ThreadsCountInLinesOfTheirOwnAndLoseNothing) {
    StripedCounter counter;
    constexpr unsigned threads = own_thread_slots + 9;  // some share
    constexpr unsigned each = 2000;
    std::atomic<unsigned> here{0};
    std::array<unsigned, threads> slots{};
    {
        std::vector<std::jthread> all_threads;
        for (unsigned i = 0; i < threads; ++i) {
            all_threads.emplace_back([&, i] {
                slots[i] = thread_slot();
                here.fetch_add(1);
                while (here.load() < threads) std::this_thread::yield();
                for (unsigned n = 0; n < each; ++n) counter.add();
            });
        }
    }
    EXPECT_EQ(counter.get(), std::uint64_t{threads} * each);
    std::multiset<unsigned> taken(slots.begin(), slots.end());
    for (unsigned slot = 0; slot < own_thread_slots; ++slot) EXPECT_LE(taken.count(slot), 1U);
    EXPECT_GE(taken.count(own_thread_slots), 9U);
}

}  // namespace
}  // namespace penumbra::mmu
