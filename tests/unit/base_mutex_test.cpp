#include <gtest/gtest.h>

#include <chrono>

#include "base/mutex.hpp"
#include "base/thread.hpp"

namespace penumbra {
namespace {

TEST(Mutex, RankHeldFollowsTheScopes) {
    Mutex bridge{LockRank::bridge};
    Mutex table{LockRank::table};
    EXPECT_EQ(highest_rank_held(), 0U);
    {
        const MutexLock outer(bridge);
        EXPECT_EQ(highest_rank_held(), static_cast<unsigned>(LockRank::bridge));
        {
            const MutexLock inner(table);
            EXPECT_EQ(highest_rank_held(), static_cast<unsigned>(LockRank::table));
        }
        EXPECT_EQ(highest_rank_held(), static_cast<unsigned>(LockRank::bridge));
    }
    EXPECT_EQ(highest_rank_held(), 0U);
}

TEST(MutexDeathTest, FallingRankStopsTheProcess) {
    Mutex bridge{LockRank::bridge};
    Mutex table{LockRank::table};
    EXPECT_DEATH(
        {
            const MutexLock outer(table);
            const MutexLock inner(bridge);
        },
        "out of rank order");
}

TEST(MutexDeathTest, EqualRankStopsTheProcess) {
    Mutex first{LockRank::leaf};
    Mutex second{LockRank::leaf};
    EXPECT_DEATH(
        {
            const MutexLock outer(first);
            const MutexLock inner(second);
        },
        "out of rank order");
}

/// Breaks the rule on purpose, so the compile-time analysis must look away.
void release_outer_first(Mutex& outer, Mutex& inner) NO_THREAD_SAFETY_ANALYSIS {
    outer.lock();
    inner.lock();
    outer.unlock();
}

TEST(MutexDeathTest, ReleaseOutOfOrderStopsTheProcess) {
    Mutex bridge{LockRank::bridge};
    Mutex table{LockRank::table};
    EXPECT_DEATH(release_outer_first(bridge, table), "released out of order");
}

TEST(Mutex, RankIsPerThread) {
    Mutex table{LockRank::table};
    const MutexLock lock(table);
    unsigned seen = 1;
    Thread other("other", ThreadRole::vmm, [&seen] { seen = highest_rank_held(); });
    other.join();
    EXPECT_EQ(seen, 0U);
}

/// Two threads pass a ball to and fro: each waits for its own turn.
struct Court {
    Mutex mutex{LockRank::leaf};
    CondVar changed;
    unsigned turns GUARDED_BY(mutex) = 0;

    void play(unsigned parity, unsigned rounds) EXCLUDES(mutex) {
        for (unsigned round = 0; round < rounds; ++round) {
            const MutexLock lock(mutex);
            while (turns % 2 != parity) changed.wait(mutex);
            ++turns;
            changed.notify_one();
        }
    }
};

TEST(CondVar, HandsOverBetweenThreadsAndKeepsTheRank) {
    constexpr unsigned rounds = 200;
    Court court;
    Thread other("other", ThreadRole::vmm, [&court] { court.play(1, rounds); });
    court.play(0, rounds);
    other.join();
    const MutexLock lock(court.mutex);
    EXPECT_EQ(court.turns, 2 * rounds);
    EXPECT_EQ(highest_rank_held(), static_cast<unsigned>(LockRank::leaf));
}

TEST(CondVar, WaitUntilReportsThePassedDeadline) {
    Mutex bridge{LockRank::bridge};
    Mutex leaf{LockRank::leaf};
    CondVar never;
    const MutexLock outer(bridge);
    {
        const MutexLock lock(leaf);
        EXPECT_FALSE(never.wait_until(leaf, std::chrono::steady_clock::now()));
        EXPECT_EQ(highest_rank_held(), static_cast<unsigned>(LockRank::leaf));
    }
    EXPECT_EQ(highest_rank_held(), static_cast<unsigned>(LockRank::bridge));
}

}  // namespace
}  // namespace penumbra
