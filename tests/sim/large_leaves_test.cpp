// The device table with large leaves under simulated threads: an engine, invalidations of a few pages of a large leaf,
// and a dirty log that is switched on and off. The plans of the machine's simulation have too few pages for that.
#include "tests/support/large_leaves.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/planted.hpp"
#include "base/thread.hpp"
#include "tests/sim/threads.hpp"

namespace penumbra::test::sim {
namespace {

using mmu::FaultAccess;

class LargeScene {
public:
    static constexpr std::uint64_t pages = entries_per_node;

    /// With one table page more than small leaves take, or with none to split with.
    explicit LargeScene(std::uint64_t seed)
        : seed_(seed), leaves_(pages, LargeLeaves::nodes_for(pages) + (seed % 3 == 0 ? 0 : 1)) {
        leaves_.fault({Gfn{0}, pages});
        (void)leaves_.reach(Gfn{0});
    }

    /// What went wrong first, or nothing.
    std::string run() {
        const std::unique_ptr<Strategy> strategy = strategy_of(seed_);
        Trace trace;
        ThreadsOptions options;
        options.check = [] {};
        options.failed = [this](std::string_view what) {
            std::fprintf(stderr, "seed %llu: %.*s\n", static_cast<unsigned long long>(seed_),
                         static_cast<int>(what.size()), what.data());
            std::abort();
        };
        Threads threads(*strategy, trace, std::move(options));
        threads.run([this] {
            std::vector<Thread> actors;
            actors.emplace_back("engine", ThreadRole::device, [this] { work(); });
            for (std::uint64_t i = 1; i <= 2; ++i) {
                actors.emplace_back("invalidator", ThreadRole::vmm, [this, i] { invalidate(i); });
            }
            if (seed_ % 2 == 0) actors.emplace_back("logger", ThreadRole::vmm, [this] { log(); });
        });
        steps_ = threads.steps();
        if (!wrong_.empty()) return wrong_;
        for (std::uint64_t gfn = 0; gfn < pages; ++gfn) {
            if (seen_[gfn] < under_log_[gfn]) return "a write was not told";
        }
        return leaves_.table.untrue_translations() == 0 ? "" : "the TLB holds what the table does not";
    }
    [[nodiscard]] std::uint64_t steps() const { return steps_; }
    [[nodiscard]] mmu::TableCounters& counters() { return leaves_.table.counters(); }

private:
    /// Few pages are hot, so that actors meet.
    static constexpr std::uint64_t hot = 3;

    void work() {
        std::mt19937_64 random(seed_);
        for (std::uint64_t i = 0; i < 600; ++i) {
            const Gfn gfn{random() % 2 == 0 ? random() % hot : i};
            const FaultAccess access = random() % 2 == 0 ? FaultAccess::write : FaultAccess::read;
            const auto held = leaves_.table.access(gfn, access);
            if (!held) {
                (void)leaves_.fault(gfn, access);
                continue;
            }
            look(held->page);
            schedule_point(Step::host);
            if (access == FaultAccess::write) {
                const unsigned value = ++written_[gfn.value()];
                if (log_is_on_) under_log_[gfn.value()] = value;
            }
            schedule_point(Step::host);
            look(held->page);
        }
    }
    void look(Hvp page) {
        if (!leaves_.window.has(page)) wrong_ = "the engine reached a page that is not in the window";
    }
    void invalidate(std::uint64_t number) {
        std::mt19937_64 random(seed_ * 10 + number);
        for (unsigned i = 0; i < 6; ++i) {
            const GfnRange some{Gfn{random() % hot}, 1 + random() % 2};
            leaves_.invalidate({some, {Gfn{100 + random() % hot}, 1}});
            leaves_.fault(some);
            leaves_.fault({Gfn{100}, hot});
        }
    }
    void take() {
        for (const GfnRange& range : leaves_.table.take_dirty_log(pages).ranges) {
            for (Gfn gfn = range.first(); gfn < range.end(); ++gfn) {
                schedule_point(Step::host);
                seen_[gfn.value()] = written_[gfn.value()];
            }
        }
    }
    void log() {
        for (unsigned i = 0; i < 2; ++i) {
            leaves_.table.begin_dirty_log();
            log_is_on_ = true;
            for (unsigned turn = 0; turn < 3; ++turn) take();
            log_is_on_ = false;
            take();
            leaves_.table.end_dirty_log();
        }
    }

    const std::uint64_t seed_;
    LargeLeaves leaves_;
    std::vector<unsigned> written_ = std::vector<unsigned>(pages);
    std::vector<unsigned> under_log_ = std::vector<unsigned>(pages);  // the last write that a log was on for
    std::vector<unsigned> seen_ = std::vector<unsigned>(pages);       // content as of a take
    bool log_is_on_ = false;                                          // for sure
    std::string wrong_;
    std::uint64_t steps_ = 0;
};

TEST(SimulatedLargeLeaves, ReachNothingThatLeftAndTellOfEveryWrite) {
    std::uint64_t splits = 0;
    std::uint64_t collapses = 0;
    std::uint64_t steps = 0;
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
        LargeScene scene(seed);
        ASSERT_EQ(scene.run(), "") << "seed " << seed;
        splits += scene.counters().splits.get();
        collapses += scene.counters().collapses.get() - 1;  // one before the scene
        steps += scene.steps();
    }
    EXPECT_GT(splits, 50U) << "too little met";
    EXPECT_GT(collapses, 20U) << "too little met";
    RecordProperty("steps", std::to_string(steps));
}

/// The seeds that it takes to see something wrong, at most 1000.
unsigned seeds_to_find(Plant plant) {
    const Planted planted(plant);
    unsigned seeds = 1;
    while (seeds <= 1000 && LargeScene(seeds).run().empty()) ++seeds;
    return seeds;
}

TEST(SimulatedLargeLeaves, PlantedBugsAreFound) {
    EXPECT_LE(seeds_to_find(Plant::skip_device_flush), 1000U);
    EXPECT_LE(seeds_to_find(Plant::skip_drain), 1000U);
    EXPECT_LE(seeds_to_find(Plant::fill_tlb_unchecked), 1000U);
    EXPECT_LE(seeds_to_find(Plant::clean_skips_flush), 1000U);
}

}  // namespace
}  // namespace penumbra::test::sim
