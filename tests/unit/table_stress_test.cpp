// Real threads on one table: faults, lookups, zaps that free table pages, splits and collapses at once. Freed pages are
// poisoned, so who walks one notices; a translation that outlives the flush it was owed names a page that its owner
// gave away, which an access notices.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "base/mutex.hpp"
#include "shadow-mmu/format/device_format.hpp"
#include "shadow-mmu/table/collapse.hpp"
#include "shadow-mmu/table/zap.hpp"
#include "tests/support/table_probe.hpp"

namespace penumbra::mmu {
namespace {

using test::pages_1g;
using test::pages_2m;

using Format = DeviceFormat;
constexpr Rights all = rights_of(Permission::read_write);

class TableStress : public testing::Test {
protected:
    using Table = PageTable<Format, AtomicEntryMemory, test::ProbeNodes>;
    static constexpr std::uint64_t span = 2 * pages_2m;
    static constexpr std::uint64_t lives = 2;  // host pages that a frame may be mapped to

    /// The caches of all processors. A page in use may be touched; one that was zapped belongs to somebody else.
    struct Caches {
        using Run = GfnRange;
        static constexpr std::size_t capacity = 4;
        Mutex mutex{LockRank::leaf};
        std::map<Gfn, Hvp> cached GUARDED_BY(mutex);

        void flush(std::span<const GfnRange> runs) {
            const MutexLock lock(mutex);
            for (const GfnRange& run : runs)
                cached.erase(cached.lower_bound(run.first()), cached.lower_bound(run.end()));
        }
        void flush_all() {
            const MutexLock lock(mutex);
            cached.clear();
        }
    };
    static Hvp host(std::uint64_t gfn, std::uint64_t life) { return Hvp{(life + 1) * pages_1g + gfn}; }
    std::atomic<bool>& in_use(Gfn gfn, Hvp page) { return in_use_[gfn.value() * lives + page.value() / pages_1g - 1]; }

    void access(Gfn gfn) {
        const MutexLock lock(caches_.mutex);
        const auto found = caches_.cached.find(gfn);
        if (found != caches_.cached.end()) return expect(in_use(gfn, found->second).load());
        const std::optional<Hvp> page = walk(gfn);
        if (!page || walk(gfn) != page) return;
        // Present when looked at last: whoever zaps it from here on flushes, which waits for the lock, before he gives
        // the page away.
        expect(in_use(gfn, *page).load());
        caches_.cached.insert_or_assign(gfn, *page);
    }
    std::optional<Hvp> walk(Gfn gfn) {
        const auto entry = table_.lookup<LoadOrder::ordered>(gfn);
        expect(entry.raw != test::ProbeNodes::poison);
        if (!Format::translates(entry.raw)) return std::nullopt;
        return Format::frame(entry.raw, entry.level) + gfn.value() % pages_spanned(entry.level);
    }
    void install(Gfn gfn, std::uint64_t life, Level level) {
        const rcu::ReadSection section;
        const auto cursor = table_.find_or_create(gfn, level);
        if (cursor.slot == nullptr || cursor.level != level) return;
        if (!transition<Format, AtomicEntryMemory>(*cursor.slot, 0, Format::busy(), level, table_.counters())) return;
        const Gfn first{gfn.value() / pages_spanned(level) * pages_spanned(level)};
        for (std::uint64_t i = 0; i < pages_spanned(level); ++i) {
            in_use(first + i, host(first.value() + i, life)).store(true);
        }
        settle<Format, AtomicEntryMemory>(*cursor.slot, Format::busy(),
                                          Format::leaf(host(first.value(), life), all, level), level,
                                          table_.counters());
    }
    void zap(GfnRange range) {
        Zapper<Table, Caches> zapper(table_, caches_);
        zapper.zap(range, TablePages::reclaim, [this](Gfn gfn, std::uint64_t leaf, Level level) {
            for (std::uint64_t i = 0; i < pages_spanned(level); ++i) {
                in_use(gfn + i, Format::frame(leaf, level) + i).store(false);
            }
        });
    }
    void change(std::mt19937_64& random) {
        const Gfn gfn{random() % span};
        const Gfn region{gfn.value() / pages_2m * pages_2m};
        switch (random() % 8) {
            case 0:
                return zap(GfnRange{region, pages_2m});
            case 1:
                return zap(GfnRange{gfn, 1 + random() % std::min<std::uint64_t>(20, span - gfn.value())});
            case 2:
                return (void)split(table_, gfn);
            case 3: {
                FlushBatch<Caches> batch(caches_);
                if (collapse(table_, gfn, Level::page_2m, batch) == CollapseResult::done) collapsed_.fetch_add(1);
                return;
            }
            case 4:
                return install(region, random() % lives, Level::page_2m);
            case 5:
                for (std::uint64_t i = 0; i < pages_2m; ++i) install(region + i, 0, Level::page_4k);
                return;
            default:
                if (random() % 16 == 0) table_.reclaim();
                return install(gfn, random() % lives, Level::page_4k);
        }
    }
    void expect(bool right) {
        if (!right) wrong_.fetch_add(1);
    }
    void run(std::uint64_t seed, unsigned changes) {
        std::atomic<unsigned> running{2};
        std::vector<std::jthread> threads;
        for (unsigned self = 0; self < 2; ++self) {
            threads.emplace_back([this, seed, self, changes, &running] {
                std::mt19937_64 random(seed * 4 + self);
                for (unsigned i = 0; i < changes; ++i) change(random);
                running.fetch_sub(1);
            });
            threads.emplace_back([this, seed, self, &running] {
                std::mt19937_64 random(seed * 4 + 2 + self);
                while (running.load() > 0) access(Gfn{random() % span});
            });
        }
    }

    test::ProbeNodes nodes_{64, test::ProbeNodes::Poison::yes};
    Table table_{nodes_};
    Caches caches_;
    std::vector<std::atomic<bool>> in_use_ = std::vector<std::atomic<bool>>(span * lives);
    std::atomic<unsigned> wrong_{0};
    std::atomic<unsigned> collapsed_{0};
};

#if defined(PENUMBRA_TSAN)
constexpr unsigned changes = 400;
#else
constexpr unsigned changes = 1500;
#endif

TEST_F(TableStress, NobodyWalksAFreedPageOrKeepsAStaleTranslation) {
    for (std::uint64_t seed = 1; seed <= 2; ++seed) {
        run(seed, changes);
        ASSERT_EQ(wrong_.load(), 0U) << "seed " << seed;
    }
    const test::TreeSum sum = test::sum_of(table_);
    EXPECT_EQ(sum.broken, 0U);
    EXPECT_EQ(table_.counters().mapped.get() - table_.counters().zapped.get(), sum.pages);
    table_.reclaim();
    EXPECT_EQ(nodes_.allocated(), sum.nodes);
    EXPECT_GT(collapsed_.load(), 0U);
    EXPECT_GT(table_.counters().splits.get(), 0U);
}

}  // namespace
}  // namespace penumbra::mmu
