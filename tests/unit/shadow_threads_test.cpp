// Several contexts at once, each with a guest that writes and a device that follows, while the host takes pages away.
#include <gtest/gtest.h>

#include <atomic>
#include <random>

#include "base/thread.hpp"
#include "tests/support/shadow_world.hpp"

namespace penumbra::test {
namespace {

constexpr std::uint64_t guests = 3;
constexpr unsigned rounds = 150;

// Context g: root 1 + g, then 5 + g, then 9 (all contexts') or 10 + g, then 14 + g with four pages.
void build(ShadowWorld& world) {
    for (std::uint64_t g = 0; g < guests; ++g) {
        world.store(1 + g, 0, entry_to(5 + g));
        world.store(5 + g, 0, entry_to(9));
        world.store(5 + g, 1, entry_to(10 + g));
        world.store(9, g, entry_to(14 + g));
        world.store(10 + g, 0, entry_to(14 + g));
        for (std::uint64_t i = 0; i < 4; ++i) world.store(14 + g, i, entry_to(32 + i));
    }
}

/// The guest stores an entry, and from then on the device follows it.
void write_and_look(ShadowWorld& world, mmu::ContextId context, std::uint64_t g, std::atomic<unsigned>& wrong) {
    std::mt19937_64 random(g);
    for (unsigned round = 0; round < rounds; ++round) {
        const std::uint64_t i = random() % 4, page = 32 + random() % 16;
        world.store(14 + g, i, entry_to(page, random() % 2 == 0 ? open_entry : dirty_entry));
        const Gva near = gva(0, 0, g, i), far = gva(0, 1, 0, i);
        if (world.reach(context, random() % 2 == 0 ? near : far, user_read) != Gfn{page}) ++wrong;
        if (world.reach(context, random() % 2 == 0 ? near : far, user_write) != Gfn{page}) ++wrong;
        if (round % 8 != 0) continue;
        world.store(5 + g, 1, 0);
        if (world.reach(context, far, user_read)) ++wrong;
        world.store(5 + g, 1, entry_to(10 + g));
        if (world.reach(context, far, user_read) != Gfn{page}) ++wrong;
    }
}

class ShadowThreads : public testing::TestWithParam<mmu::OwnWrites> {};

TEST_P(ShadowThreads, EachDeviceFollowsItsGuest) {
    ShadowWorldOptions options;
    options.own = GetParam();
    options.limits.pages = 20;
    ShadowWorld world(options);
    build(world);
    std::atomic<unsigned> wrong{0};
    std::atomic<bool> stop{false};
    std::vector<mmu::ContextId> contexts;
    for (std::uint64_t g = 0; g < guests; ++g) contexts.push_back(world.id(world.open(1 + g)));
    Thread host("host", ThreadRole::vmm, [&] {
        std::mt19937_64 random(100);
        while (!stop) {
            world.evict(Gfn{random() % 2 == 0 ? 1 + random() % 16 : 32 + random() % 16});
            if (random() % 32 == 0) world.table.drop_everything();
            std::this_thread::yield();
        }
    });
    {
        std::vector<Thread> threads;
        for (std::uint64_t g = 0; g < guests; ++g) {
            threads.emplace_back("guest", ThreadRole::vmm, [&, g] { write_and_look(world, contexts[g], g, wrong); });
        }
    }
    stop = true;
    host.join();
    EXPECT_EQ(wrong, 0U);
    EXPECT_EQ(world.check(), "");
    EXPECT_GT(world.table.stats().broken.get(), rounds);
}

INSTANTIATE_TEST_SUITE_P(Exchanges, ShadowThreads, testing::Values(mmu::OwnWrites::break_watch, mmu::OwnWrites::pass));

}  // namespace
}  // namespace penumbra::test
