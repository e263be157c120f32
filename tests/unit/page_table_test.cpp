// The walker over a memory that keeps its write history: what every reader could ever have seen is known afterwards.
#include "shadow-mmu/table/page_table.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>
#include <set>
#include <thread>
#include <utility>

#include "shadow-mmu/format/device_format.hpp"
#include "shadow-mmu/format/ept_format.hpp"
#include "tests/support/history_memory.hpp"

namespace penumbra::mmu {
namespace {

using test::HistoryMemory;
using test::HistoryScope;

NodeArena arena(std::uint64_t nodes) {
    Result<NodeArena> made = NodeArena::create(nodes);
    PENUMBRA_ASSERT(made.has_value(), "no memory for a test");
    return std::move(*made);
}

constexpr std::uint64_t pages_2m = pages_spanned(Level::page_2m);
constexpr std::uint64_t pages_1g = pages_spanned(Level::page_1g);

template <class Format>
class PageTableTest : public testing::Test {
protected:
    using Table = PageTable<Format, HistoryMemory>;
    using Cursor = typename Table::Cursor;

    explicit PageTableTest(std::uint64_t nodes = 64) : table_(arena(nodes)) {}

    bool move(const Cursor& cursor, std::uint64_t from, std::uint64_t to) {
        return transition<Format, HistoryMemory>(*cursor.slot, from, to, cursor.level, table_.counters());
    }
    static std::uint64_t leaf(std::uint64_t page, Level level = Level::page_4k) {
        return Format::leaf(Hvp{page}, Permission::read_write, level);
    }
    void install(const Cursor& cursor, std::uint64_t page) {
        ASSERT_TRUE(move(cursor, 0, Format::busy()));
        ASSERT_TRUE(move(cursor, Format::busy(), leaf(page, cursor.level)));
    }
    void zap(const Cursor& cursor) {
        const std::uint64_t raw = HistoryMemory::load(*cursor.slot);
        ASSERT_TRUE(move(cursor, raw, Format::frozen(raw)));
        ASSERT_TRUE(move(cursor, Format::frozen(raw), 0));
    }
    std::optional<Hvp> translate(std::uint64_t gfn) {
        const Cursor cursor = table_.find(Gfn{gfn});
        if (cursor.slot == nullptr) return std::nullopt;
        const std::uint64_t raw = HistoryMemory::load(*cursor.slot);
        if (Table::state_of(raw, cursor.level) != EntryState::present) return std::nullopt;
        return Format::frame(raw) + gfn % pages_spanned(cursor.level);
    }
    /// The entry beside the one that leads to `gfn` at that level: for large leaves, which nothing makes yet.
    Cursor neighbour(std::uint64_t gfn, Level level) {
        const std::size_t before = HistoryMemory::count();
        (void)table_.find_or_create(Gfn{gfn});
        const auto changes = HistoryMemory::changes();
        const std::size_t links = changes.size() - before;  // from the top down to level 2
        PENUMBRA_ASSERT(links >= 1, "the test asked for a fresh path");
        return {changes[changes.size() + 1 - static_cast<unsigned>(level)].slot + 1, level};
    }

    const HistoryScope history_;
    Table table_;
};
using Formats = testing::Types<EptFormat, DeviceFormat>;
TYPED_TEST_SUITE(PageTableTest, Formats);

TYPED_TEST(PageTableTest, WalksAcrossEveryLevel) {
    const std::array<std::uint64_t, 6> gfns{0, 1, 511, pages_2m, pages_1g, 512 * pages_1g};
    for (const std::uint64_t gfn : gfns) {
        EXPECT_EQ(this->table_.find(Gfn{gfn}).slot == nullptr, gfn != 1 && gfn != 511) << gfn;
        const auto cursor = this->table_.find_or_create(Gfn{gfn});
        ASSERT_NE(cursor.slot, nullptr);
        EXPECT_EQ(cursor.level, Level::page_4k);
        EXPECT_EQ(this->table_.find(Gfn{gfn}).slot, cursor.slot);
        this->install(cursor, gfn + 1000);
    }
    for (const std::uint64_t gfn : gfns) EXPECT_EQ(this->translate(gfn), Hvp{gfn + 1000});
    EXPECT_FALSE(this->translate(2));
    EXPECT_FALSE(this->translate(pages_2m * 7));
    EXPECT_EQ(this->table_.table_pages(), 1U + 3 + 1 + 2 + 3);
}

TYPED_TEST(PageTableTest, FindNeverCreates) {
    EXPECT_EQ(this->table_.find(Gfn{123}).slot, nullptr);
    EXPECT_EQ(this->table_.table_pages(), 1U);
    EXPECT_TRUE(HistoryMemory::changes().empty());
}

TYPED_TEST(PageTableTest, EveryStateIsTheOldOrTheNewTranslation) {
    std::mt19937_64 random(1);
    constexpr std::uint64_t span = 3 * pages_2m;
    std::array<std::uint64_t, span> model{};  // page + 1 of each gfn now
    std::uint64_t next_page = 5;
    for (unsigned step = 0; step < 5000; ++step) {
        const std::uint64_t gfn = random() % span;
        const auto cursor = this->table_.find_or_create(Gfn{gfn});
        const std::size_t before = HistoryMemory::count();
        std::set<std::uint64_t> allowed{0, model[gfn]};  // translations a reader may have met meanwhile
        if (model[gfn] == 0) {
            this->install(cursor, next_page);
            model[gfn] = ++next_page;
        } else {
            this->zap(cursor);
            model[gfn] = 0;
        }
        allowed.insert(model[gfn]);
        for (const auto& change : HistoryMemory::changes(before)) {
            ASSERT_EQ(change.slot, cursor.slot) << "an entry of another page changed";
            const bool present = TypeParam::state(change.to, Level::page_4k) == EntryState::present;
            ASSERT_TRUE(allowed.contains(present ? TypeParam::frame(change.to).value() + 1 : 0));
        }
    }
    for (std::uint64_t gfn = 0; gfn < span; ++gfn) ASSERT_EQ(this->translate(gfn).has_value(), model[gfn] != 0);
    EXPECT_TRUE(HistoryMemory::complete());
    const auto& counters = this->table_.counters();
    const auto present = std::ranges::count_if(model, [](std::uint64_t page) { return page != 0; });
    EXPECT_EQ(counters.mapped.get() - counters.zapped.get(), static_cast<std::uint64_t>(present));
}

TYPED_TEST(PageTableTest, LargeLeafEndsTheWalk) {
    const auto two = this->neighbour(0, Level::page_2m);  // covers [2 MiB, 4 MiB)
    this->install(two, 8 * pages_2m);
    const std::uint64_t base = 7 * pages_1g;
    const auto one = this->neighbour(base, Level::page_1g);  // covers the gigabyte behind
    this->install(one, 16 * pages_1g);
    for (const std::uint64_t i : {std::uint64_t{0}, std::uint64_t{1}, pages_2m - 1}) {
        EXPECT_EQ(this->translate(pages_2m + i), Hvp{8 * pages_2m + i});
    }
    for (const std::uint64_t i : {std::uint64_t{0}, std::uint64_t{4711}, pages_1g - 1}) {
        EXPECT_EQ(this->translate(base + pages_1g + i), Hvp{16 * pages_1g + i});
    }
    const std::uint64_t nodes = this->table_.table_pages();
    const auto cursor = this->table_.find_or_create(Gfn{pages_2m + 5});
    EXPECT_EQ(cursor.slot, two.slot);
    EXPECT_EQ(cursor.level, Level::page_2m);
    EXPECT_EQ(this->table_.table_pages(), nodes);
    this->zap(two);
    EXPECT_FALSE(this->translate(pages_2m));
    EXPECT_EQ(this->table_.find_or_create(Gfn{pages_2m}).level, Level::page_4k) << "an empty entry may become a table";
}

TYPED_TEST(PageTableTest, ForEachVisitsWhatIsThereOnce) {
    const auto large = this->neighbour(0, Level::page_2m);
    this->install(large, 8 * pages_2m);
    const std::uint64_t far = 5 * pages_1g + 3;
    this->install(this->table_.find_or_create(Gfn{far}), 1);

    std::vector<std::pair<std::uint64_t, Level>> seen;
    const auto visit = [&](std::uint64_t first, std::uint64_t pages) {
        seen.clear();
        this->table_.for_each(GfnRange{Gfn{first}, pages},
                              [&](Gfn gfn, const auto& cursor) { seen.emplace_back(gfn.value(), cursor.level); });
    };
    visit(510, 100);  // two small entries, then the large leaf once
    EXPECT_EQ(seen, (decltype(seen){{510, Level::page_4k}, {511, Level::page_4k}, {512, Level::page_2m}}));
    visit(pages_2m + 9, 100);  // begins inside the large leaf
    EXPECT_EQ(seen, (decltype(seen){{pages_2m + 9, Level::page_2m}}));
    visit(2 * pages_2m, 5 * pages_1g + 1 - 2 * pages_2m);  // nothing until the far table page
    EXPECT_EQ(seen, (decltype(seen){{5 * pages_1g, Level::page_4k}}));
    visit(0, 0);
    EXPECT_TRUE(seen.empty());
    visit(0, 6 * pages_1g);
    EXPECT_EQ(seen.size(), 512U + 1 + 512);
    EXPECT_TRUE(std::ranges::is_sorted(seen));
}

template <class Format>
class SmallArenaTest : public PageTableTest<Format> {
protected:
    SmallArenaTest() : PageTableTest<Format>(5) {}
};
TYPED_TEST_SUITE(SmallArenaTest, Formats);

TYPED_TEST(SmallArenaTest, ExhaustionIsAnAnswer) {
    ASSERT_NE(this->table_.find_or_create(Gfn{0}).slot, nullptr);         // root and three more
    ASSERT_NE(this->table_.find_or_create(Gfn{pages_2m}).slot, nullptr);  // the fifth
    EXPECT_EQ(this->table_.find_or_create(Gfn{pages_1g}).slot, nullptr);
    EXPECT_EQ(this->table_.find_or_create(Gfn{2 * pages_2m}).slot, nullptr);
    EXPECT_EQ(this->table_.table_pages(), 5U);
    EXPECT_NE(this->table_.find_or_create(Gfn{1}).slot, nullptr) << "what is linked stays usable";
}

TYPED_TEST(PageTableTest, RacingCreatorsLinkOneNode) {
    constexpr std::size_t racers = 4;
    for (std::uint64_t round = 0; round < 12; ++round) {
        const Gfn gfn{round * pages_1g};
        const std::uint64_t nodes = this->table_.table_pages();
        std::array<typename TestFixture::Cursor, racers> found;
        {
            std::atomic<unsigned> ready{0};
            std::vector<std::jthread> threads;
            for (std::size_t i = 0; i < racers; ++i) {
                threads.emplace_back([&, i] {
                    ready.fetch_add(1);
                    while (ready.load() < racers) std::this_thread::yield();
                    found[i] = this->table_.find_or_create(gfn);
                });
            }
        }
        for (const auto& cursor : found) EXPECT_EQ(cursor.slot, found[0].slot);
        EXPECT_EQ(this->table_.table_pages(), nodes + (round == 0 ? 3 : 2)) << "a loser kept its node";
    }
    EXPECT_TRUE(HistoryMemory::complete());
}

/// Runs something once, right after a load of one entry: as another thread might between two looks at it.
struct MeddledMemory : HistoryMemory {
    [[nodiscard]] static std::uint64_t load_ordered(const Slot& slot) {
        const std::uint64_t raw = HistoryMemory::load_ordered(slot);
        if (raw == 0 && meddler) std::exchange(meddler, nullptr)();
        return raw;
    }
    static inline std::function<void()> meddler;
};

TYPED_TEST(PageTableTest, ATableLinkedDuringAWalkIsGoneInto) {
    PageTable<TypeParam, MeddledMemory> table(arena(64));
    const auto link = [&table](Gfn gfn) {
        MeddledMemory::meddler = [&table, gfn] { ASSERT_NE(table.find_or_create(gfn).slot, nullptr); };
    };
    link(Gfn{0});
    EXPECT_EQ(table.find_or_create(Gfn{1}).level, Level::page_4k);
    link(Gfn{pages_1g});
    const auto found = table.find(Gfn{pages_1g});
    EXPECT_TRUE(found.slot == nullptr || found.level == Level::page_4k);
    link(Gfn{2 * pages_1g});
    EXPECT_EQ(table.visit(Gfn{2 * pages_1g}, Gfn{3 * pages_1g}, entries_per_node,
                          [](Gfn, const auto& cursor) {
                              EXPECT_EQ(cursor.level, Level::page_4k) << "a visit of an entry that leads down";
                              return Visit::next;
                          }),
              Gfn{2 * pages_1g + pages_2m});
    EXPECT_EQ(MeddledMemory::meddler, nullptr);
}

TYPED_TEST(PageTableTest, RacingClaimsHaveOneWinner) {
    const auto cursor = this->table_.find_or_create(Gfn{0});
    for (unsigned round = 0; round < 50; ++round) {
        std::atomic<unsigned> won{0};
        {
            std::vector<std::jthread> threads;
            for (unsigned i = 0; i < 3; ++i) {
                threads.emplace_back([&] { won += this->move(cursor, 0, TypeParam::busy()) ? 1 : 0; });
            }
        }
        ASSERT_EQ(won.load(), 1U);
        ASSERT_TRUE(this->move(cursor, TypeParam::busy(), 0));
    }
    EXPECT_TRUE(HistoryMemory::complete());
}

TEST(PageTableDeathTest, GfnBeyondReachStopsTheProcess) {
    const HistoryScope history;
    PageTable<EptFormat, HistoryMemory> table(arena(4));
    EXPECT_DEATH((void)table.find(Gfn{1ULL << 36}), "beyond the table's reach");
}

}  // namespace
}  // namespace penumbra::mmu
