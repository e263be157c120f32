// The simulated threads themselves.
#include "tests/sim/threads.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "base/mutex.hpp"
#include "base/thread.hpp"
#include "base/wait.hpp"

namespace penumbra::test::sim {
namespace {

/// Runs `body` under a strategy; what failed first, in a death test's child, goes to stderr.
void simulate(Strategy& strategy, std::function<void(Threads&)> body, ThreadsOptions options = {}) {
    Trace trace;
    if (!options.check) options.check = [] {};
    options.failed = [](std::string_view what) {
        std::fprintf(stderr, "%.*s\n", static_cast<int>(what.size()), what.data());
        std::_Exit(1);
    };
    Threads threads(strategy, trace, std::move(options));
    threads.run([&] { body(threads); });
}

TEST(SimulatedThreads, LocksExcludeAndConditionsWake) {
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        const std::unique_ptr<Strategy> strategy = strategy_of(seed);
        int inside = 0;
        int turns = 0;
        simulate(*strategy, [&](Threads&) {
            Mutex mutex{LockRank::leaf};
            CondVar changed;
            std::vector<Thread> threads;
            for (int i = 0; i < 4; ++i) {
                threads.emplace_back("t", ThreadRole::vmm, [&, i] {
                    const MutexLock lock(mutex);
                    while (turns != i) changed.wait(mutex);
                    EXPECT_EQ(++inside, 1);
                    schedule_point(Step::host);
                    --inside;
                    ++turns;
                    changed.notify_all();
                });
            }
        });
        EXPECT_EQ(turns, 4);
    }
}

TEST(SimulatedThreads, TimePassesOnlyWhenNobodyCanRun) {
    RandomWalk walk(1, 2);
    simulate(walk, [&](Threads& threads) {
        const auto start = steady_now();
        Thread other("other", ThreadRole::vmm, [] {
            for (int i = 0; i < 100; ++i) schedule_point(Step::host);
        });
        threads.pause(std::chrono::milliseconds{10});
        EXPECT_EQ(steady_now() - start, std::chrono::milliseconds{10});
    });
}

TEST(SimulatedThreads, EachHasItsOwnMarks) {
    RandomWalk walk(7, 2);
    simulate(walk, [&](Threads&) {
        std::vector<Thread> threads;
        for (int i = 0; i < 3; ++i) {
            threads.emplace_back("t", ThreadRole::device, [] {
                Mutex mutex{LockRank::leaf};
                for (int turn = 0; turn < 20; ++turn) {
                    EXPECT_EQ(highest_rank_held(), 0U);
                    const MutexLock lock(mutex);
                    schedule_point(Step::host);
                    EXPECT_EQ(highest_rank_held(), static_cast<unsigned>(LockRank::leaf));
                    EXPECT_EQ(ThreadRegister::self(), ThreadRegister::instance().find(current_tid()));
                }
            });
        }
    });
    EXPECT_EQ(highest_rank_held(), 0U);
}

using SimulatedThreadsDeathTest = testing::Test;

TEST(SimulatedThreadsDeathTest, ADeadlockIsToldOf) {
    RandomWalk walk(1, 2);
    EXPECT_EXIT(simulate(walk,
                         [](Threads&) {
                             std::atomic<int> never{0};
                             wait_while(never, 0);
                         }),
                testing::ExitedWithCode(1), "deadlock");
}

TEST(SimulatedThreadsDeathTest, AWakeThatIsMissingIsToldOf) {
    RandomWalk walk(1, 2);
    EXPECT_EXIT(simulate(walk,
                         [](Threads&) {
                             Mutex mutex{LockRank::leaf};
                             CondVar never;
                             const MutexLock lock(mutex);
                             (void)never.wait_until(mutex, steady_now() + std::chrono::seconds{10});
                         }),
                testing::ExitedWithCode(1), "stall");
}

TEST(SimulatedThreadsDeathTest, ALivelockIsToldOf) {
    RandomWalk walk(1, 2);
    ThreadsOptions options;
    options.most_steps = 1000;
    EXPECT_EXIT(simulate(
                    walk,
                    [](Threads&) {
                        for (;;) schedule_point(Step::host);
                    },
                    options),
                testing::ExitedWithCode(1), "livelock");
}

}  // namespace
}  // namespace penumbra::test::sim
