// The service within a whole MemorySystem: slow pages delay nobody, the reclaimer goes around pages under I/O, errors
// stop and go on, and the end comes in order.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/planted.hpp"
#include "tests/support/cpu_waits.hpp"
#include "tests/support/dma_loop.hpp"
#include "tests/support/dma_machine.hpp"
#include "tests/support/pace.hpp"

namespace penumbra::test {
namespace {

using namespace std::chrono_literals;
using mmu::FaultAccess;
using vmm::DmaClient;
using vmm::DmaGrant;
using vmm::DmaHold;
using vmm::PageState;

constexpr Gfn first{0x400};

/// Each page gets words of its own.
void fill(DmaMachine& machine, GfnRange range) {
    std::array<std::uint64_t, page_bytes / sizeof(std::uint64_t)> words{};
    for (Gfn gfn = range.first(); gfn < range.end(); ++gfn) {
        std::fill(words.begin(), words.end(), gfn.value());
        machine.write(address_of(gfn), std::as_bytes(std::span{words}));
    }
}

PageState state_of(DmaMachine& machine, Gfn gfn) {
    const vmm::PagerState& state = machine.memory().state();
    return state.words.load(state.index_of(machine.host(gfn))).state();
}

/// Takes the pages out and packs them.
void send_out(DmaMachine& machine, GfnRange range) {
    EXPECT_EQ(machine.evict(range), range.pages());
    EXPECT_TRUE(machine.memory().reclaimer().wait_for_slots(machine.memory().state().limbo->slots()));
}

DmaHold hold_page(DmaLoop& device, Gfn gfn) {
    return device.with_page(gfn, [&](DmaClient& client, DmaGrant) {
        auto held = client.hold(address_of(gfn), page_bytes);
        PENUMBRA_ASSERT(held.has_value(), "a granted page can be held");
        return std::move(*held);
    });
}

#if defined(PENUMBRA_TEST_SWITCHES)

TEST(DmaMemory, APageOnASlowTierDelaysNobody) {
    DmaMachine machine;
    DmaLoop device(machine.service());
    constexpr GfnRange range{first, 200};
    constexpr Gfn slow = first + 77;
    for (unsigned round = 0; round < 3; ++round) {
        fill(machine, range);
        send_out(machine, range);
        ASSERT_EQ(state_of(machine, slow), PageState::compressed);
        const auto number = static_cast<std::int64_t>(machine.memory().state().index_of(machine.host(slow)));
        std::optional<Planted> held(std::in_place, Plant::hold_page, number + 1);
        std::atomic<bool> came{false};
        device.call([&](DmaClient& client) { client.want(slow, FaultAccess::read, [&](DmaGrant) { came = true; }); });
        for (Gfn gfn = range.first(); gfn < range.end(); ++gfn) {
            if (gfn == slow) continue;
            const OwnTime time;
            EXPECT_EQ(device.with_page(gfn, [](DmaClient&, DmaGrant grant) { return grant; }), DmaGrant::present);
            EXPECT_LT(time.taken(), 50ms * slowness()) << "page " << gfn.value() << ", round " << round;
            EXPECT_EQ(machine.service().pending(), 1U) << "only the slow page is waited for";
        }
        EXPECT_FALSE(came);
        held.reset();
        EXPECT_TRUE(becomes_true([&] { return came.load(); }));
    }
    EXPECT_EQ(machine.errors(), 0U);
}

TEST(DmaMemory, AnErrorStopsAndRetryGoesOn) {
    const auto path = std::filesystem::path(testing::TempDir()) / ("dma-" + std::to_string(::getpid()) + ".swap");
    DmaMachineOptions options;
    options.swap_path = path;
    options.compress = false;
    DmaMachine machine(options);
    DmaLoop device(machine.service());
    constexpr GfnRange range{first, 8};
    fill(machine, range);
    send_out(machine, range);
    ASSERT_EQ(state_of(machine, first), PageState::stored);
    std::optional<Planted> short_reads(std::in_place, Plant::short_read);
    std::atomic<unsigned> came{0};
    device.call([&](DmaClient& client) {
        for (Gfn gfn = range.first(); gfn < range.end(); ++gfn) {
            client.want(gfn, FaultAccess::read, [&](DmaGrant) { came.fetch_add(1); });
        }
    });
    ASSERT_TRUE(becomes_true([&] { return machine.errors() == 1; }));
    EXPECT_EQ(came, 0U);
    short_reads.reset();
    machine.memory().retry();
    EXPECT_TRUE(becomes_true([&] { return came == range.pages(); }));
    EXPECT_EQ(machine.errors(), 1U);
}

#endif

TEST(DmaMemory, TheReclaimerGoesAroundPagesInUse) {
    DmaMachine machine;
    DmaLoop device(machine.service());
    fill(machine, {first, 100});
    std::vector<DmaHold> holds;
    for (std::uint64_t i = 0; i < 100; i += 3) holds.push_back(hold_page(device, first + i));
    vmm::Reclaimer& reclaimer = machine.memory().reclaimer();
    std::size_t taken = 0;
    for (unsigned round = 0; round < 8; ++round) taken += reclaimer.evict(64, bridge::Blockable::yes);
    EXPECT_GE(taken, 66U);
    const auto swept = machine.memory().evict_everything();
    EXPECT_EQ(swept.kept, holds.size());
    for (std::uint64_t i = 0; i < 100; ++i) {
        EXPECT_EQ(state_of(machine, first + i) == PageState::resident, i % 3 == 0) << i;
    }
    EXPECT_EQ(machine.service().stats().io_waits, 0U);
    EXPECT_TRUE(becomes_true([&] { return machine.memory().pages_under_long_io() == holds.size(); }));
    holds.clear();
    EXPECT_EQ(machine.memory().pages_under_long_io(), 0U);
    EXPECT_EQ(machine.memory().evict_everything().kept, 0U);
}

TEST(DmaMemory, AStaleTouchByALoopIsCountedAtTheTable) {
    DmaMachineOptions options;
    options.stale = vmm::StalePolicy::count;
    DmaMachine machine(options);
    DmaLoop device(machine.service());
    const std::byte* const absent = pointer_to(machine.host(first));
    EXPECT_EQ(device.call([&](DmaClient&) { return *static_cast<const volatile std::byte*>(absent); }), std::byte{0});
    EXPECT_EQ(machine.table().counters().stale_faults.get(), 1U);
    EXPECT_EQ(machine.memory().ept().counters().stale_faults.get(), 0U);
}

TEST(DmaMemory, MoreIsUsedThanFits) {
    DmaMachineOptions options;
    options.budget_bytes = 4ULL << 20;
    DmaMachine machine(options);
    DmaLoop device(machine.service());
    constexpr std::uint64_t pages = 2048;
    for (std::uint64_t i = 0; i < pages; ++i) {
        device.with_page(first + i, [&](DmaClient& client, DmaGrant grant) {
            EXPECT_EQ(grant, DmaGrant::present);
            EXPECT_TRUE(client.store16(address_of(first + i), static_cast<std::uint16_t>(i)));
            return 0;
        });
    }
    for (std::uint64_t i = 0; i < pages; ++i) {
        const auto seen = device.with_page(
            first + i, [&](DmaClient& client, DmaGrant) { return client.load16(address_of(first + i)); });
        ASSERT_EQ(seen, static_cast<std::uint16_t>(i));
    }
    EXPECT_EQ(machine.errors(), 0U);
    EXPECT_LE(machine.memory().state().budget.peak(), options.budget_bytes + options.budget_bytes / 20);
}

TEST(DmaMemory, EndsWithWishesAndGrantsOpen) {
    DmaMachine machine;
    DmaLoop device(machine.service());
    DmaLoop sleeper(machine.service(), DmaLoop::Start::later);
    fill(machine, {first, 64});
    send_out(machine, {first, 64});
    for (std::uint64_t i = 0; i < 64; ++i) {
        sleeper.client().want(first + i, FaultAccess::write, [](DmaGrant) { FAIL() << "nobody runs this"; });
    }
    device.loop().stop();
    machine.memory().stop_paging();
    machine.memory().abandon_window();
    for (std::uint64_t i = 0; i < 64; ++i) EXPECT_FALSE(machine.table().in_use(machine.host(first + i)));
    EXPECT_EQ(machine.service().pending(), 0U);
    EXPECT_EQ(machine.errors(), 0U);
}

}  // namespace
}  // namespace penumbra::test
