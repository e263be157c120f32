// Each wrong shadow table is noticed: by the model, or by a story of its own where the model cannot tell.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <utility>

#include "base/thread.hpp"
#include "shadow-mmu/shadow/shadow_bugs.hpp"
#include "tests/support/shadow_model.hpp"

namespace penumbra::test {
namespace {

using mmu::PlantedShadowBug;
using mmu::ShadowBug;

struct Mutant {
    ShadowBug bug;
    const char* name;
};

class ShadowMutants : public testing::TestWithParam<Mutant> {};

TEST_P(ShadowMutants, TheModelNotices) {
    const PlantedShadowBug planted(GetParam().bug);
    std::string found;
    for (std::uint64_t seed = 201; seed <= 400 && found.empty(); ++seed) {
        found =
            run_shadow_model({.seed = seed, .own = seed % 2 == 0 ? mmu::OwnWrites::pass : mmu::OwnWrites::break_watch});
    }
    EXPECT_NE(found, "");
    RecordProperty("found", found);
}

INSTANTIATE_TEST_SUITE_P(Bugs, ShadowMutants,
                         testing::Values(Mutant{ShadowBug::skip_flush, "skip_flush"},
                                         Mutant{ShadowBug::skip_revalidation, "skip_revalidation"},
                                         Mutant{ShadowBug::skip_epoch_recheck, "skip_epoch_recheck"},
                                         Mutant{ShadowBug::missed_child_sync, "missed_child_sync"},
                                         Mutant{ShadowBug::role_without_access, "role_without_access"},
                                         Mutant{ShadowBug::role_without_mode, "role_without_mode"},
                                         Mutant{ShadowBug::role_without_tracking, "role_without_tracking"},
                                         Mutant{ShadowBug::stale_root_reuse, "stale_root_reuse"},
                                         Mutant{ShadowBug::stale_unsync_link, "stale_unsync_link"},
                                         Mutant{ShadowBug::missed_reverse_entry, "missed_reverse_entry"},
                                         Mutant{ShadowBug::unwatch_before_zap, "unwatch_before_zap"},
                                         Mutant{ShadowBug::invalidate_misses_unsync, "invalidate_misses_unsync"},
                                         Mutant{ShadowBug::announcement_uncounted, "announcement_uncounted"},
                                         Mutant{ShadowBug::dirty_ignored, "dirty_ignored"},
                                         Mutant{ShadowBug::writable_table, "writable_table"},
                                         Mutant{ShadowBug::watch_survives_eviction, "watch_survives_eviction"},
                                         Mutant{ShadowBug::large_pieces_alike, "large_pieces_alike"},
                                         Mutant{ShadowBug::supervisor_write_as_user, "supervisor_write_as_user"}),
                         [](const auto& tested) { return tested.param.name; });

/// Root 1, then 2 and, beside it, 3, both with table 4 below, which has table 5 with one page.
void share_a_subtree(ShadowWorld& world) {
    world.store(1, 0, entry_to(2));
    world.store(1, 1, entry_to(3));
    world.store(2, 0, entry_to(4));
    world.store(3, 0, entry_to(4));
    world.store(4, 0, entry_to(5));
    world.store(5, 0, entry_to(32));
}

std::string links_after_sharing() {
    ShadowWorld world;
    share_a_subtree(world);
    const std::size_t context = world.open(1);
    (void)world.touch(context, gva(0, 0, 0, 0), user_read);
    (void)world.touch(context, gva(1, 0, 0, 0), user_read);
    return world.table.inconsistency();
}

TEST(ShadowMutant, ADroppedParentLinkShows) {
    EXPECT_EQ(links_after_sharing(), "");
    const PlantedShadowBug planted(ShadowBug::dropped_parent_link);
    EXPECT_EQ(links_after_sharing(), "a link its child lacks");
}

/// True when a write to a table was let through while a device was in a page by what the table said.
bool write_overtakes_an_access() {
    ShadowWorld world;
    for (std::uint64_t page = 1; page <= 3; ++page) world.store(page, 0, entry_to(page + 1));
    world.store(4, 0, entry_to(32));
    const std::size_t context = world.open(1);
    (void)world.touch(context, gva(0, 0, 0, 0), user_read);
    auto held = world.table.access(world.id(context), gva(0, 0, 0, 0), user_read);
    PENUMBRA_ASSERT(held.has_value(), "touched, and not there");
    std::atomic<bool> flushed{false}, let_through{false};
    world.tlb.on_flush = [&] { flushed.store(true); };
    world.memory.on_unwatch = [&](std::span<const Gfn>) { let_through.store(true); };
    Thread writer("writer", ThreadRole::vmm, [&] { world.table.written(Gfn{4}); });
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds{50};
    while (!let_through.load() && (!flushed.load() || std::chrono::steady_clock::now() < until))
        std::this_thread::yield();
    const bool overtaken = let_through.load();
    held.reset();
    writer.join();
    EXPECT_TRUE(let_through.load());
    return overtaken;
}

TEST(ShadowMutant, ASkippedDrainShows) {
    EXPECT_FALSE(write_overtakes_an_access());
    const PlantedShadowBug planted(ShadowBug::skip_drain);
    EXPECT_TRUE(write_overtakes_an_access());
}

/// The host takes the page when a fault has found it there and watches the tables, before it installs.
std::string check_after_eviction_in_a_fault() {
    ShadowWorld world;
    for (std::uint64_t page = 1; page <= 3; ++page) world.store(page, 0, entry_to(page + 1));
    world.store(4, 0, entry_to(32));
    const std::size_t context = world.open(1);
    bool taken = false;
    world.memory.on_read = [&] {
        if (world.memory.is_protected(Gfn{4}) && !std::exchange(taken, true)) world.evict(Gfn{32});
    };
    (void)world.table.fault(world.id(context), gva(0, 0, 0, 0), user_read);
    EXPECT_TRUE(taken);
    return world.check();
}

TEST(ShadowMutant, ASkippedSequenceRecheckShows) {
    EXPECT_EQ(check_after_eviction_in_a_fault(), "");
    const PlantedShadowBug planted(ShadowBug::skip_sequence_recheck);
    EXPECT_NE(check_after_eviction_in_a_fault(), "");
}

/// What a fault answers right after its table was written.
mmu::ShadowOutcome outcome_after_write() {
    ShadowWorld world;
    for (std::uint64_t page = 1; page <= 3; ++page) world.store(page, 0, entry_to(page + 1));
    world.store(4, 0, entry_to(32));
    const std::size_t context = world.open(1);
    (void)world.touch(context, gva(0, 0, 0, 0), user_read);
    world.store(4, 0, entry_to(33));
    return world.table.fault(world.id(context), gva(0, 0, 0, 0), user_read).outcome;
}

TEST(ShadowMutant, AnIgnoredSliceShows) {
    EXPECT_EQ(outcome_after_write(), mmu::ShadowOutcome::wait);
    const PlantedShadowBug planted(ShadowBug::slice_ignored);
    EXPECT_EQ(outcome_after_write(), mmu::ShadowOutcome::installed);
}

}  // namespace
}  // namespace penumbra::test
