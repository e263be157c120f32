// A device follows a guest process's page table while the guest changes it, under eviction: after each of the guest's
// stores the device's very next access goes by what was stored. And that the same test notices when it does not.
#include <gtest/gtest.h>

#include <cstring>
#include <ostream>
#include <random>
#include <span>
#include <thread>

#include "base/planted.hpp"
#include "shadow-mmu/shadow/shadow_bugs.hpp"
#include "tests/host/watch_machine.hpp"
#include "tests/support/pace.hpp"

namespace penumbra::test {
namespace {

/// Takes all pages out, again and again, and writes an entry that maps nothing into every lowest table between: writes
/// of the VMM, to tables that are watched more often than not.
class Disturber {
public:
    explicit Disturber(WatchMachine& machine)
        : machine_(machine), thread_("disturber", ThreadRole::vmm, [this] { run(); }) {}
    ~Disturber() { stop_.store(true); }
    Disturber(const Disturber&) = delete;
    Disturber& operator=(const Disturber&) = delete;

    static constexpr std::uint64_t index = 511;  // of the entry that it writes

private:
    void run() {
        for (std::uint64_t round = 0; !stop_.load(); ++round) {
            (void)machine_.memory().evict_everything();
            for (std::uint64_t t = 0; t < WatchMachine::tables; ++t) {
                const std::uint64_t nothing = round << 1;  // not present
                const Gpa entry = WatchMachine::gpa_of_entry(t * 512 + index);
                if (!machine_.memory().write(entry, std::as_bytes(std::span(&nothing, 1)))) return;
                std::this_thread::yield();
            }
        }
    }

    WatchMachine& machine_;
    std::atomic<bool> stop_{false};
    Thread thread_;
};

/// What the tables and pages hold, and rounds of one change each.
class Follower {
public:
    Follower(WatchMachine& machine, std::uint64_t seed)
        : machine_(machine), random_(seed), maps_(WatchMachine::pages), wrote_(WatchMachine::pages) {
        for (std::uint64_t i = 0; i < WatchMachine::pages; ++i) maps_[i] = i;
    }

    void round() {
        const std::uint64_t page = any_page();
        switch (random_() % 4) {
            case 0:
                race(page);
                break;
            case 1:
                hold(page);
                break;
            default:
                look(page);
                change(page);
                machine_.guest().finish();
                break;
        }
        look(page);
        look(page / 512 * 512 + any_page() % 511);  // by the same table
    }
    [[nodiscard]] std::uint64_t mismatches() const { return mismatches_; }

private:
    [[nodiscard]] std::uint64_t any_page() {
        return random_() % WatchMachine::tables * 512 + random_() % Disturber::index;
    }
    void change(std::uint64_t page) {
        constexpr std::uint64_t bits[] = {open_bits, open_bits | mmu::guest_entry::accessed, used_bits, used_bits};
        maps_[page] = random_() % WatchMachine::pages;
        machine_.guest().begin(machine_.entry(page), entry_of(WatchMachine::data + maps_[page], bits[random_() % 4]));
    }
    void pass_time(std::uint64_t turns) {
        for (std::uint64_t i = 0; i < turns; ++i) passed_.fetch_add(1);
    }

    /// The device faults while the guest stores to a table that nobody watches yet: what it sees is old or new.
    void race(std::uint64_t page) {
        const std::uint64_t near = page / 512 * 512 + (page + 1) % 511;
        change(near);
        machine_.guest().finish();
        const std::uint64_t before = maps_[page];
        change(page);
        pass_time(random_() % 400);
        const auto seen = machine_.seen(page);
        if (seen != WatchMachine::data + before && seen != WatchMachine::data + maps_[page]) ++mismatches_;
        machine_.guest().finish();
    }
    /// The guest stores while the device is in an access by what it overwrites: not before that ends.
    void hold(std::uint64_t page) {
        const auto held = machine_.reach(page, user_reads);
        change(page);
        const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds{200};
        while (std::chrono::steady_clock::now() < until && !machine_.guest().done()) std::this_thread::yield();
        if (machine_.guest().done()) ++mismatches_;
        finish_after_hold_ = true;
    }
    void look(std::uint64_t page) {
        if (std::exchange(finish_after_hold_, false)) machine_.guest().finish();
        const std::uint64_t target = maps_[page];
        const bool writes = random_() % 4 == 0;
        const auto access = machine_.reach(page, writes ? user_writes : user_reads);
        std::uint64_t words[2] = {};
        if (access) std::memcpy(words, pointer_to(access->page), sizeof words);
        if (words[0] != (WatchMachine::data + target).value() || words[1] != wrote_[target]) {
            ++mismatches_;
        } else if (writes) {
            std::memcpy(pointer_to(access->page) + 8, &++wrote_[target], 8);
        }
    }

    WatchMachine& machine_;
    std::mt19937_64 random_;
    std::vector<std::uint64_t> maps_;   // entry -> data page
    std::vector<std::uint64_t> wrote_;  // data page -> its second word
    std::uint64_t mismatches_ = 0;
    bool finish_after_hold_ = false;
    std::atomic<std::uint64_t> passed_{0};
};

/// Rounds until the first mismatch.
std::uint64_t follow(WatchMachine& machine, std::uint64_t seed, unsigned rounds) {
    const ThreadRoleScope engine(ThreadRole::device);
    Follower follower(machine, seed);
    const Disturber disturber(machine);
    for (unsigned i = 0; i < rounds && follower.mismatches() == 0; ++i) follower.round();
    return follower.mismatches();
}

constexpr std::uint64_t quarter = 4ULL << 20;  // of what the guest uses

class WatchFollow : public testing::TestWithParam<vmm::TakeOutMode> {};

TEST_P(WatchFollow, EveryAccessGoesByTheNewestStore) {
    constexpr std::uint64_t seed = 20250811;
    WatchMachine machine({.budget_bytes = quarter, .take_out = GetParam()});
    EXPECT_EQ(follow(machine, seed, 4000 / slowness()), 0U) << "seed " << seed;
    EXPECT_EQ(machine.errors(), 0U);
    EXPECT_EQ(machine.table().inconsistency(), "");
    EXPECT_GT(machine.table().stats().broken.get(), 1000U / slowness());
    EXPECT_GT(machine.memory().state().stats.swapped_out.get(), WatchMachine::pages);
    const auto different = machine.memory().disagreements();
    EXPECT_EQ(different ? *different : ~std::uint64_t{0}, 0U);
}

std::string name_of_mode(const testing::TestParamInfo<vmm::TakeOutMode>& mode) {
    return mode.param == vmm::TakeOutMode::move ? "Move" : "Copy";
}
INSTANTIATE_TEST_SUITE_P(TakeOut, WatchFollow, testing::Values(vmm::TakeOutMode::move, vmm::TakeOutMode::copy),
                         name_of_mode);

#if defined(PENUMBRA_TEST_SWITCHES)

constexpr unsigned most_rounds = 20'000;

class WatchFollowMutants : public testing::TestWithParam<mmu::ShadowBug> {};

TEST_P(WatchFollowMutants, AreNoticed) {
    constexpr std::uint64_t seed = 7;
    WatchMachine machine({.budget_bytes = quarter, .stale = vmm::StalePolicy::count});
    const mmu::PlantedShadowBug bug(GetParam());
    EXPECT_GT(follow(machine, seed, most_rounds), 0U) << "seed " << seed;
}

std::string name_of_bug(const testing::TestParamInfo<mmu::ShadowBug>& bug) {
    return bug.param == mmu::ShadowBug::skip_flush ? "SkipFlush" : "UnwatchBeforeZap";
}
INSTANTIATE_TEST_SUITE_P(Bugs, WatchFollowMutants,
                         testing::Values(mmu::ShadowBug::skip_flush, mmu::ShadowBug::unwatch_before_zap), name_of_bug);

TEST(WatchFollowMutant, AWriteThatNobodyTellsIsNoticed) {
    constexpr std::uint64_t seed = 11;
    WatchMachine machine({.budget_bytes = quarter, .stale = vmm::StalePolicy::count});
    const Planted untold(Plant::skip_guest_write);
    EXPECT_GT(follow(machine, seed, most_rounds), 0U) << "seed " << seed;
}

#endif

}  // namespace
}  // namespace penumbra::test
