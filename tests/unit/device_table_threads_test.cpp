// The accelerator's table under real threads: an engine, faults, invalidations of parts of large leaves, and a dirty
// log, all at once. The engine's writes are copied by what the log tells, as a migration would.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "base/planted.hpp"
#include "base/thread.hpp"
#include "tests/support/large_leaves.hpp"

namespace penumbra::mmu {
namespace {

using test::LargeLeaves;

class Storm {
public:
    static constexpr std::uint64_t pages = 2 * pages_spanned(Level::page_2m);

    Storm(std::uint32_t seed, std::uint64_t nodes) : leaves_(pages, nodes), seed_(seed) {
        leaves_.fault({Gfn{0}, pages});
        for (std::uint64_t gfn = 0; gfn < pages; ++gfn) EXPECT_TRUE(leaves_.reach(Gfn{gfn}));
    }

    struct Mistakes {
        std::uint64_t outside = 0;  ///< times the engine reached a page that is not in the window
        std::uint64_t missed = 0;   ///< pages written under a log and not told
        std::uint64_t untrue = 0;   ///< cached translations that the table does not hold
        std::uint64_t small = 0;    ///< regions that did not grow together at the end
    };
    Mistakes run() {
        leaves_.table.begin_dirty_log();
        {
            Thread first("invalidator", ThreadRole::vmm, [this] { invalidate(1); });
            Thread second("invalidator", ThreadRole::vmm, [this] { invalidate(2); });
            Thread logger("logger", ThreadRole::vmm, [this] { log(); });
            Thread engine("engine", ThreadRole::device, [this] { work(); });
            engine.join();
            stop_ = true;
            first.join();
            second.join();
            logger.join();
        }
        Mistakes made{outside_, 0, leaves_.table.untrue_translations(), 0};
        for (std::uint64_t gfn = 0; gfn < pages; ++gfn) made.missed += seen_[gfn] < under_log_[gfn] ? 1U : 0U;
        EXPECT_GT(writes_, 0U);
        made.small = grow_again();
        leaves_.space.release();
        EXPECT_EQ(leaves_.mapped(), 0U);
        return made;
    }
    [[nodiscard]] LargeLeaves& leaves() { return leaves_; }

private:
    static constexpr unsigned most_accesses = 4'000'000;

    [[nodiscard]] std::uint64_t grow_again() {
        leaves_.table.end_dirty_log();
        for (unsigned pass = 0; pass < 4; ++pass) {
            leaves_.tlb.flush_all();
            for (std::uint64_t gfn = 0; gfn < pages; ++gfn) (void)leaves_.reach(Gfn{gfn});
        }
        std::uint64_t small = 0;
        for (std::uint64_t gfn = 0; gfn < pages; gfn += entries_per_node) {
            small += leaves_.level_of(Gfn{gfn}) == Level::page_2m ? 0U : 1U;
        }
        return small;
    }
    void take() {
        for (const GfnRange& range : leaves_.table.take_dirty_log(4096).ranges) {
            for (Gfn gfn = range.first(); gfn < range.end(); ++gfn) {
                seen_[gfn.value()] = written_[gfn.value()].load(std::memory_order_relaxed);
            }
        }
    }
    void work() {
        std::mt19937 random(seed_);
        Gfn gfn{0};
        for (unsigned i = 0; i < most_accesses && (invalidations_ < 100 || takes_ < 60); ++i) {
            if (i % 64 == 0) std::this_thread::yield();
            gfn = random() % 4 == 0 ? Gfn{random() % pages} : Gfn{(gfn.value() + 1) % pages};
            const FaultAccess access = random() % 3 == 0 ? FaultAccess::write : FaultAccess::read;
            const auto held = leaves_.table.access(gfn, access);
            if (!held) {
                (void)leaves_.fault(gfn, access);
                continue;
            }
            if (!leaves_.window.has(held->page)) ++outside_;
            if (access == FaultAccess::write) {
                // Relaxed: the table alone orders a write before the take that tells of it.
                const std::uint32_t value = written_[gfn.value()].load(std::memory_order_relaxed) + 1;
                written_[gfn.value()].store(value, std::memory_order_relaxed);
                if (log_is_on_) under_log_[gfn.value()] = value;
                ++writes_;
            }
            if (!leaves_.window.has(held->page)) ++outside_;
        }
    }
    void invalidate(std::uint32_t number) {
        std::mt19937 random(seed_ * 100 + number);
        while (!stop_) {
            std::vector<GfnRange> ranges;
            for (std::uint64_t at = random() % 300; at < pages && ranges.size() < 5; at += 1 + random() % 200) {
                ranges.push_back({Gfn{at}, 1});
            }
            if (random() % 8 == 0) ranges = {{Gfn{random() % 300}, 600}};
            leaves_.invalidate(ranges);
            ++invalidations_;
            std::this_thread::yield();
            for (const GfnRange& range : ranges) leaves_.fault(range);
        }
    }
    void log() {
        std::mt19937 random(seed_ + 77);
        while (!stop_) {
            for (unsigned i = 0; i < 5; ++i) {
                take();
                ++takes_;
                std::this_thread::yield();
            }
            if (random() % 2 == 0) continue;
            log_is_on_ = false;  // or soon will not be
            take();
            leaves_.table.end_dirty_log();
            for (unsigned i = 0; i < 200 && !stop_; ++i) std::this_thread::yield();
            leaves_.table.begin_dirty_log();
            log_is_on_ = true;
        }
        take();
    }

    LargeLeaves leaves_;
    const std::uint32_t seed_;
    std::atomic<unsigned> invalidations_{0};
    std::atomic<unsigned> takes_{0};
    std::atomic<bool> stop_{false};
    std::atomic<bool> log_is_on_{true};  // for sure
    std::uint64_t outside_ = 0;          // the engine's, like what follows
    std::uint64_t writes_ = 0;
    std::unique_ptr<std::atomic<std::uint32_t>[]> written_ = std::make_unique<std::atomic<std::uint32_t>[]>(pages);
    std::vector<std::uint32_t> seen_ = std::vector<std::uint32_t>(pages);       // the logger's: content as of a take
    std::vector<std::uint32_t> under_log_ = std::vector<std::uint32_t>(pages);  // the engine's: last write under a log
};

void expect_none(const Storm::Mistakes& made) {
    EXPECT_EQ(made.outside, 0U);
    EXPECT_EQ(made.missed, 0U);
    EXPECT_EQ(made.untrue, 0U);
    EXPECT_EQ(made.small, 0U);
}

TEST(DeviceTableThreads, NothingIsReachedThatLeftAndNoWriteIsMissed) {
    std::uint64_t splits = 0;
    for (std::uint32_t seed = 1; seed <= 3; ++seed) {
        SCOPED_TRACE(seed);
        Storm storm(seed, LargeLeaves::nodes_for(Storm::pages) + 2);
        expect_none(storm.run());
        splits += storm.leaves().table.counters().splits.get();
    }
    EXPECT_GT(splits, 5U) << "too little met";
}

TEST(DeviceTableThreads, NeitherWhereTablePagesAreShort) {
    Storm storm(4, LargeLeaves::nodes_for(Storm::pages) - 1);
    Storm::Mistakes made = storm.run();
    made.small = 0;  // the pages of one region have no table page to come back to
    expect_none(made);
}

#if defined(PENUMBRA_TEST_SWITCHES)

/// Whether `count` of one of some storms' mistakes is more than 0.
template <class Count>
bool some_storm_shows(Plant plant, Count count) {
    const Planted planted(plant);
    for (std::uint32_t seed = 1; seed <= 20; ++seed) {
        if (count(Storm(seed, LargeLeaves::nodes_for(Storm::pages) + 2).run()) > 0) return true;
    }
    return false;
}

TEST(DeviceTableThreads, NoticesWhatIsLeftOut) {
    EXPECT_TRUE(some_storm_shows(Plant::skip_device_flush, [](Storm::Mistakes made) { return made.outside; }));
    EXPECT_TRUE(some_storm_shows(Plant::clean_skips_flush, [](Storm::Mistakes made) { return made.missed; }));
}

#endif

}  // namespace
}  // namespace penumbra::mmu
