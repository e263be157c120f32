// A seeded simulation: one thread takes the part of the guest, the device and the host, in a random but replayable
// order, and after every step all of the machine is compared with a model. Steps also run in the middle of a fault,
// between its resolve and its install, where the host has every chance to interfere.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/sim/machine.hpp"

namespace penumbra::test {

class Simulation final : mmu::PageSource {
public:
    explicit Simulation(std::uint64_t seed) : seed_(seed), random_(seed) {}

    /// What went wrong first, with the seed, the step and the steps before it; nullopt: nothing did.
    [[nodiscard]] std::optional<std::string> run(unsigned steps);

    /// How often the rare things happened, so that a test can see that they do.
    struct Seen {
        unsigned installed = 0;
        unsigned held_off = 0;
        unsigned interrupted = 0;  ///< faults in whose middle something happened
        unsigned would_block = 0;
        unsigned taken = 0;
        unsigned kept = 0;
        unsigned device_hits = 0;
    };
    [[nodiscard]] const Seen& seen() const { return seen_; }

private:
    enum class Op { fault, device_fault, access, device_access, hold, let_go, begin, end, move, count };
    /// Each as often as it stands here: brackets end sooner than they begin, or nothing would ever be mapped.
    static constexpr std::array often{Op::fault,        Op::fault,         Op::fault,         Op::device_fault,
                                      Op::device_fault, Op::device_fault,  Op::device_fault,  Op::access,
                                      Op::access,       Op::device_access, Op::device_access, Op::device_access,
                                      Op::hold,         Op::hold,          Op::let_go,        Op::begin,
                                      Op::end,          Op::end,           Op::end,           Op::move};
    struct Step {
        Op op;
        std::uint64_t page;
    };
    struct Page {
        std::uint64_t version = 0;  // what its first and last word say, wherever it is
        bool in_window = false;
    };
    struct Bracket {
        bridge::ScriptedSource::Ticket ticket;
        std::size_t staging;  // number of its part of the staging area
    };
    struct Held {
        std::uint64_t page;
        mmu::AccessTracker::Guard guard;
    };

    // The page source of both tables: the fake pager, with the host's interference.
    Result<mmu::ResolvedPage> resolve(Hvp page, mmu::FaultAccess access) override;
    std::optional<mmu::Content> commit(Hvp page, mmu::ResolvedPage& resolved) override {
        return machine_.pager.commit(page, resolved);
    }
    void conclude(Hvp page, mmu::ResolvedPage& resolved, mmu::Conclusion conclusion) override {
        machine_.pager.conclude(page, resolved, conclusion);
    }

    void step(Op op, std::uint64_t page);
    void interfere(std::uint64_t page);
    void fault(std::uint64_t page);
    void device_fault(std::uint64_t page);
    void access(std::uint64_t page);
    void device_access(std::uint64_t page);
    void hold(std::uint64_t page);
    void begin(std::uint64_t page);
    void end();
    void move(std::uint64_t page);
    void settle(const Bracket& bracket);
    void check();
    /// True when the device has an entry for the page.
    [[nodiscard]] bool check_page(std::uint64_t page);

    /// Reads the page as a consumer that reached it, and writes to it every other time.
    void touch(std::uint64_t page, Hvp reached, const char* who);
    [[nodiscard]] bool held_off(std::uint64_t page);
    [[nodiscard]] bool in_open_bracket(std::uint64_t page);
    [[nodiscard]] bool guarded(const bridge::RangeSet& ranges) const;
    [[nodiscard]] std::uint64_t number_of(Hvp page) const;
    void blame(std::string what);

    [[nodiscard]] static std::uint64_t word_at(Hvp page, std::size_t offset);

    static constexpr std::size_t last_word = page_bytes - sizeof(std::uint64_t);
    static constexpr std::size_t most_open = 4;
    static constexpr std::size_t most_held = 6;

    const std::uint64_t seed_;
    std::mt19937_64 random_;
    SimMachine machine_;
    mmu::WindowSource window_source_{machine_.ept, *this};
    MappedRegion staging_ = make_region(most_open * SimMachine::pages);
    bridge::ScriptedSource host_{machine_.space};
    std::vector<Page> model_ = std::vector<Page>(SimMachine::pages);
    std::vector<Bracket> open_;
    std::vector<Held> held_;
    std::vector<Step> done_;
    std::uint64_t writes_ = 0;
    unsigned depth_ = 0;  // faults whose resolve is under way
    bool in_device_fault_ = false;
    std::optional<std::string> wrong_;
    Seen seen_;
};

}  // namespace penumbra::test
