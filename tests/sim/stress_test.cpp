// Four threads at once: two guests, a device and the host's reclaim. Every page has a version word that its owner
// bumps; a page that comes back must hold the newest.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <random>
#include <thread>

#include "base/planted.hpp"
#include "tests/sim/machine.hpp"

namespace penumbra::test {
namespace {

using bridge::Blockable;
using mmu::FaultAccess;

/// Pages belong to the accessors in turn: only its owner writes a page, everybody reads it.
class Stress {
public:
    explicit Stress(std::uint64_t seed) : seed_(seed) {}

    /// Number of wrong things seen.
    [[nodiscard]] std::uint64_t run(unsigned touches) {
        running_ = accessors;
        {
            std::vector<std::jthread> threads;
            threads.emplace_back([this] { evict(); });
            for (unsigned self = 0; self < accessors; ++self) {
                threads.emplace_back([this, self, touches] {
                    std::array<std::uint64_t, SimMachine::pages> newest{};
                    std::mt19937_64 random(seed_ * accessors + self);
                    for (unsigned i = 0; i < touches && wrong_.get() == 0; ++i) touch(self, random, newest);
                    if (wrong_.get() == 0) verify_own(self, newest);
                    running_.fetch_sub(1);
                });
            }
        }
        const bool quiet = machine_.ept.sequence().active() == 0 && machine_.device.sequence().active() == 0;
        return wrong_.get() + machine_.window.violations() + (quiet ? 0 : 1);
    }
    [[nodiscard]] SimMachine& machine() { return machine_; }
    [[nodiscard]] std::uint64_t refused() const { return refused_.get(); }

private:
    static constexpr unsigned accessors = 3;  // the last is the device

    static std::atomic_ref<std::uint64_t> word(Hvp page, std::size_t index) {
        return std::atomic_ref(reinterpret_cast<std::uint64_t*>(pointer_to(page))[index]);
    }
    /// Calls fn(page) once, with the page held.
    template <class Fn>
    void with_page(unsigned self, std::uint64_t page, Fn&& fn) {
        const Gfn gfn = SimMachine::gfn(page);
        for (;;) {
            bool failed = false;
            if (self + 1 == accessors) {
                if (const auto access = machine_.device.access(gfn)) return fn(access->page);
                failed = !mmu::handle_fault(machine_.device, source_, gfn, FaultAccess::write);
            } else {
                if (const auto access = machine_.ept.access(gfn)) return fn(access->page);
                failed = !mmu::handle_fault(machine_.ept, machine_.pager, gfn, FaultAccess::write);
            }
            if (failed) return wrong_.add();
        }
    }
    void touch(unsigned self, std::mt19937_64& random, std::array<std::uint64_t, SimMachine::pages>& newest) {
        const std::uint64_t page = random() % SimMachine::pages;
        const bool writes = page % accessors == self && random() % 2 == 0;
        with_page(self, page, [&](Hvp at) {
            const std::uint64_t found = word(at, 0).load();
            const bool own = page % accessors == self;
            if (own ? found != newest[page] : found < newest[page]) wrong_.add();
            newest[page] = found;
            if (!writes) return;
            ++newest[page];
            word(at, 511).store(newest[page]);
            word(at, 0).store(newest[page]);
        });
    }
    void verify_own(unsigned self, const std::array<std::uint64_t, SimMachine::pages>& newest) {
        for (std::uint64_t page = self; page < SimMachine::pages; page += accessors) {
            with_page(self, page, [&](Hvp at) {
                if (word(at, 0).load() != newest[page] || word(at, 511).load() != newest[page]) wrong_.add();
            });
        }
    }
    void evict() {
        std::mt19937_64 random(seed_ + 1000);
        bridge::ScriptedSource host(machine_.space);
        while (running_.load() > 0) {
            bridge::InvalidationEvent event;
            event.reason = bridge::Reason::swap_out;
            event.blockable = random() % 3 == 0 ? Blockable::no : Blockable::yes;
            for (std::uint64_t i = 0; i < 1 + random() % 4; ++i) {
                const std::uint64_t page = random() % SimMachine::pages;
                const std::uint64_t left = SimMachine::slot_pages - page % SimMachine::slot_pages;
                event.ranges.add(HvpRange{machine_.host(page), 1 + random() % left});
            }
            machine_.window.keep(machine_.host(random() % SimMachine::pages));
            const auto ticket = host.begin(std::move(event), staging_.pages().first());
            if (!ticket) {
                refused_.add();
                continue;
            }
            std::size_t index = 0;
            for (const HvpRange& range : host.event(*ticket).ranges.ranges()) {
                for (Hvp page = range.first(); page < range.end(); ++page, ++index) {
                    if (host.outcomes(*ticket)[index] != bridge::TakeOut::taken) continue;
                    machine_.pager.save(page, pointer_to(staging_.pages().first() + index));
                }
            }
            host.end(*ticket);
        }
    }

    const std::uint64_t seed_;
    SimMachine machine_;
    mmu::WindowSource source_{machine_.ept, machine_.pager};
    MappedRegion staging_ = make_region(SimMachine::pages);
    std::atomic<unsigned> running_{0};
    Counter wrong_;
    Counter refused_;
};

#if defined(__SANITIZE_THREAD__)
constexpr unsigned touches = 40'000;
#else
constexpr unsigned touches = 200'000;
#endif

TEST(Stress, NewestContentAlwaysComesBack) {
    const std::uint64_t seed = wanted_seed().value_or(1);
    Stress stress(seed);
    EXPECT_EQ(stress.run(touches), 0U) << "seed " << seed << "; replay with PENUMBRA_SEED=" << seed;
    EXPECT_GT(stress.machine().window.taken(), 100U);
    EXPECT_GT(stress.machine().device.counters().mapped.get(), SimMachine::pages);
}

#if defined(PENUMBRA_TEST_SWITCHES) && !defined(__SANITIZE_THREAD__)  // the planted bug is a data race on guest memory
TEST(Stress, NoticesInstallsAgainstTheSequence) {
    std::uint64_t wrong = 0;
    for (std::uint64_t seed = 1; seed <= 5 && wrong == 0; ++seed) {
        const Planted skip(Plant::skip_sequence_recheck);
        const Planted delay(Plant::delay_before_install, 200);
        Stress stress(seed);
        wrong = stress.run(3000);
    }
    EXPECT_GT(wrong, 0U);
}
#endif

}  // namespace
}  // namespace penumbra::test
