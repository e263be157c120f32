// What a device writes through a guest process's addresses is in the accelerator's dirty log.
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "base/planted.hpp"
#include "tests/host/watch_machine.hpp"

namespace penumbra::test {
namespace {

/// Rounds of random reads, writes and remaps between takes.
class Log {
public:
    explicit Log(std::uint64_t seed) : random_(seed) {
        for (unsigned i = 0; i < 200; ++i) touch(any_page(), mmu::AccessKind::write);  // before the log: not in it
        machine_.memory().begin_device_log();
    }
    ~Log() { machine_.memory().end_device_log(); }
    Log(const Log&) = delete;
    Log& operator=(const Log&) = delete;

    /// Pages that one take lacks, and pages that it made up.
    struct Difference {
        std::size_t missing = 0;
        std::size_t made_up = 0;
    };
    [[nodiscard]] Difference round() {
        std::set<Gfn> written;
        for (unsigned i = 0; i < 60; ++i) {
            const std::uint64_t page = any_page();
            if (random_() % 3 == 0) {
                touch(page, mmu::AccessKind::read);
            } else {
                written.insert(touch(page, mmu::AccessKind::write));
            }
            if (random_() % 256 == 0) remap(any_page());  // rarely: it makes the device forget all
        }
        std::set<Gfn> told = take();
        Difference difference;
        for (const Gfn gfn : written) difference.missing += told.erase(gfn) == 0 ? std::size_t{1} : std::size_t{0};
        difference.made_up = told.size();
        return difference;
    }

private:
    static constexpr std::uint64_t some_pages = 64;  // few, so that the same ones are written in every round
    [[nodiscard]] std::uint64_t any_page() { return random_() % some_pages; }

    Gfn touch(std::uint64_t page, mmu::AccessKind kind) {
        const auto held = machine_.reach(page, {kind, mmu::Privilege::user});
        EXPECT_TRUE(held.has_value());
        if (kind == mmu::AccessKind::write) {
            reinterpret_cast<std::uint64_t*>(pointer_to(held->page))[1] = random_();
        }
        return *machine_.memory().ept().memslots().to_guest(held->page);
    }
    void remap(std::uint64_t page) {
        const Gfn to = WatchMachine::data + random_() % WatchMachine::pages;
        machine_.guest().store(machine_.entry(page), entry_of(to));
    }
    [[nodiscard]] std::set<Gfn> take() {
        std::set<Gfn> told;
        for (bool more = true; more;) {
            const auto taken = machine_.memory().take_device_log(1024);
            more = taken.more;
            for (const GfnRange& range : taken.ranges) {
                for (Gfn gfn = range.first(); gfn < range.end(); ++gfn) told.insert(gfn);
            }
        }
        return told;
    }

    std::mt19937_64 random_;
    WatchMachine machine_;
};

constexpr std::uint64_t seed = 41;
constexpr unsigned rounds = 30;

TEST(WatchLog, TellsWhatWasWrittenAndNothingElse) {
    Log log(seed);
    for (unsigned i = 0; i < rounds; ++i) {
        const Log::Difference difference = log.round();
        EXPECT_EQ(difference.missing, 0U) << "round " << i;
        EXPECT_EQ(difference.made_up, 0U) << "round " << i;
    }
}

TEST(WatchLog, ATakeThatLeavesTranslationsLosesWrites) {
    const Planted planted(Plant::clean_skips_flush);
    Log log(seed);
    std::size_t missing = 0;
    for (unsigned i = 0; i < rounds; ++i) missing += log.round().missing;
    EXPECT_GT(missing, 0U);
}

}  // namespace
}  // namespace penumbra::test
