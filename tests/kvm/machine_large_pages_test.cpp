// The accelerator over a whole MemorySystem whose window is present in units of 2 MiB: what large leaves spare its TLB,
// that they stay right while single pages inside them are evicted, and what its dirty log tells.
#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <map>
#include <random>
#include <string>

#include "base/mutex.hpp"
#include "base/planted.hpp"
#include "base/thread.hpp"
#include "tests/support/accelerated_memory.hpp"

namespace penumbra::vmm::test {
namespace {

constexpr std::uint64_t source = 16 * mebibyte;
constexpr std::uint64_t copied = 64 * mebibyte;
constexpr std::uint64_t target = source + copied;

/// TLB fills of one copy of what both sides have mapped, from an empty TLB.
std::uint64_t fills_of_a_copy(Leaves leaves) {
    AcceleratedMemory machine(leaves);
    EXPECT_TRUE(machine.fill(source, copied));
    EXPECT_TRUE(machine.fill(target, copied));
    machine.empty_tlb();
    const std::uint64_t before = machine.fills();
    EXPECT_TRUE(machine.copy(source, target, copied));
    const std::uint64_t fills = machine.fills() - before;
    EXPECT_EQ(machine.sums(source, copied), machine.sums(target, copied));
    EXPECT_EQ(machine.table().untrue_translations(), 0U);
    EXPECT_EQ(machine.table().counters().collapses.get() > 0, leaves == Leaves::large);
    return fills;
}

TEST(MachineLargePages, ACopyNeedsAHundredthOfTheFills) {
    const std::uint64_t small = fills_of_a_copy(Leaves::small);
    const std::uint64_t large = fills_of_a_copy(Leaves::large);
    RecordProperty("fills_small", std::to_string(small));
    RecordProperty("fills_large", std::to_string(large));
    EXPECT_GE(small, 2 * copied / page_bytes);
    EXPECT_GE(large, 2 * copied / region_bytes);
    EXPECT_LE(large * 100, small);
}

TEST(MachineLargePages, SumsStayRightWhileSinglePagesAreEvicted) {
    AcceleratedMemory machine(Leaves::large);
    constexpr std::uint64_t size = 16 * mebibyte;
    ASSERT_TRUE(machine.fill(source, size));
    const std::vector<std::uint64_t> expected = machine.sums(source, size);
    ASSERT_TRUE(machine.copy(source, target, size));
    const mmu::TableCounters& counters = machine.table().counters();
    const std::uint64_t splits = counters.splits.get();
    const std::uint64_t collapses = counters.collapses.get();

    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> commands{1};  // begun
    std::atomic<std::uint64_t> evicted{0};
    Thread evictor("evictor", ThreadRole::vmm, [&] {
        std::mt19937_64 random(4711);
        while (!stop) {
            const std::uint64_t first = (random() % 2 == 0 ? source : target) >> page_shift;
            const Hvp page = machine.memory().window_pages().first() + first + random() % (size >> page_shift);
            evicted += machine.memory().reclaimer().evict_pages(std::span{&page, 1}, bridge::Blockable::yes).taken;
            // A few in each command, so that regions also have time to grow together.
            while (!stop && evicted >= 4 * commands) ::sched_yield();
        }
    });
    const auto enough = [&] {
        return counters.splits.get() >= splits + 50 && counters.collapses.get() >= collapses + 50;
    };
    const auto until = Clock::now() + std::chrono::seconds{30};
    do {
        EXPECT_TRUE(machine.copy(source, target, size));
        ++commands;
        EXPECT_EQ(machine.sums(source, size), expected);
        ++commands;
        EXPECT_EQ(machine.sums(target, size), expected);
        ++commands;
    } while (!enough() && Clock::now() < until);
    stop = true;
    evictor.join();
    EXPECT_TRUE(enough()) << counters.splits.get() - splits << " splits, " << counters.collapses.get() - collapses
                          << " collapses, " << evicted << " evictions";
    for (unsigned pass = 0; pass < 3; ++pass) {
        machine.empty_tlb();  // a region whose small translations are all cached has nothing to gain
        EXPECT_EQ(machine.sums(target, size), expected);
    }
    for (std::uint64_t at = target; at < target + size; at += region_bytes) {
        EXPECT_EQ(machine.table().table().lookup(frame_of(Gpa{at})).level, Level::page_2m) << "grows no more";
    }
    EXPECT_EQ(machine.table().untrue_translations(), 0U);
    EXPECT_EQ(counters.stale_faults.get(), 0U);
}

/// Random small fills, with random pages evicted in between; a take after every few.
struct Told {
    std::uint64_t missed = 0;   ///< written since the last take and not in this one
    std::uint64_t made_up = 0;  ///< the reverse
};
Told told_of_random_fills(unsigned takes) {
    AcceleratedMemory machine(Leaves::large);
    constexpr std::uint64_t size = 4 * mebibyte;
    std::mt19937_64 random(takes);
    EXPECT_TRUE(machine.fill(source, size));
    (void)machine.sums(source, size);
    EXPECT_GT(machine.table().counters().collapses.get(), 1U);
    machine.table().begin_dirty_log();
    Told told;
    for (unsigned i = 0; i < takes; ++i) {
        Pages written{0};  // the ring, where results are written
        for (unsigned command = 0; command < 20; ++command) {
            const std::uint64_t at = source + random() % size;
            const std::uint64_t length = 1 + random() % std::min<std::uint64_t>(3 * page_bytes, source + size - at);
            EXPECT_TRUE(machine.fill(at, length));
            for (std::uint64_t page = at >> page_shift; page <= (at + length - 1) >> page_shift; ++page) {
                written.insert(page);
            }
            if (random() % 4 != 0) continue;
            const Hvp page = machine.memory().window_pages().first() + ((source + random() % size) >> page_shift);
            (void)machine.memory().reclaimer().evict_pages(std::span{&page, 1}, bridge::Blockable::yes);
        }
        const Pages taken = machine.take();
        for (const std::uint64_t page : written) told.missed += taken.contains(page) ? 0U : 1U;
        for (const std::uint64_t page : taken) told.made_up += written.contains(page) ? 0U : 1U;
    }
    machine.table().end_dirty_log();
    const std::uint64_t collapses = machine.table().counters().collapses.get();
    for (unsigned i = 0; i < 4; ++i) (void)machine.sums(source, size);
    EXPECT_GT(machine.table().counters().collapses.get(), collapses) << "after the log leaves grow again";
    return told;
}

TEST(MachineLargePages, ATakeTellsWhatWasWrittenAndNothingElse) {
    const Told told = told_of_random_fills(60);
    EXPECT_EQ(told.missed, 0U);
    EXPECT_EQ(told.made_up, 0U);
}

/// The log taken every 100 ms, or however soon a loaded machine lets it, while fills go on: pages whose last write no
/// take told, and pages told that were never written.
Told told_every_100_ms() {
    AcceleratedMemory machine(Leaves::large);
    constexpr std::uint64_t size = 16 * mebibyte;
    constexpr std::uint64_t takes = 8;
    EXPECT_TRUE(machine.fill(source, size));
    (void)machine.sums(source, size);
    machine.table().begin_dirty_log();

    std::atomic<std::uint64_t> done{0};            // takes
    std::map<std::uint64_t, std::uint64_t> told;   // page: the last take that told of it, from 1
    std::map<std::uint64_t, std::uint64_t> begun;  // page: takes that were over when its last write was begun
    const auto take = [&] {
        for (const std::uint64_t page : machine.take()) told[page] = done + 1;
        ++done;
    };
    Mutex mutex{LockRank::leaf};
    CondVar never;
    Thread taker("taker", ThreadRole::vmm, [&] {
        for (auto next = Clock::now(); done < takes;) {
            next += std::chrono::milliseconds{100};
            {
                const MutexLock lock(mutex);
                while (never.wait_until(mutex, next)) {
                }
            }
            take();
        }
    });
    std::mt19937_64 random(1);
    while (done < takes) {
        // Only every second page.
        const std::uint64_t page = (source >> page_shift) + random() % (size >> page_shift) / 2 * 2;
        begun[page] = begun[0] = done;
        EXPECT_TRUE(machine.fill(page * page_bytes + random() % 4000, 90));
    }
    taker.join();
    take();
    machine.table().end_dirty_log();
    Told mistakes;
    for (const auto& [page, before] : begun) mistakes.missed += told[page] > before ? 0U : 1U;
    for (const auto& [page, number] : told) mistakes.made_up += begun.contains(page) ? 0U : 1U;
    return mistakes;
}

TEST(MachineLargePages, NoWriteIsMissedWhileTheLogIsTakenEvery100Ms) {
    const Told told = told_every_100_ms();
    EXPECT_EQ(told.missed, 0U);
    EXPECT_EQ(told.made_up, 0U);
}

#if defined(PENUMBRA_TEST_SWITCHES)

TEST(MachineLargePages, NoticesALogThatIsTakenWithoutAFlush) {
    const Planted planted(Plant::clean_skips_flush);
    EXPECT_GT(told_of_random_fills(20).missed, 0U);
    EXPECT_GT(told_every_100_ms().missed, 0U);
}

#endif

}  // namespace
}  // namespace penumbra::vmm::test
