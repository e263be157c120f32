// Commands in a process's addresses that wait: for the guest, for its time with a table, for pages. Each wait ends with
// what was waited for, and with pause, reset and stop at once.
#include <gtest/gtest.h>
#include <sched.h>

#include <chrono>

#include "shadow-mmu/shadow/shadow_bugs.hpp"
#include "tests/support/accelerator_process.hpp"

namespace penumbra::test {
namespace {

using namespace std::chrono_literals;
using abi::AccelPageRequest;
using abi::AccelRegister;
using abi::AccelResult;
using std::chrono::steady_clock;

constexpr Gva place{0x1234'5000};
constexpr std::uint32_t not_there = 4;  // error codes: user
constexpr std::uint32_t may_not_write = 7;

mmu::ShadowLimits with_slices_of(std::chrono::microseconds slice) {
    mmu::ShadowLimits limits;
    limits.progress.first_slice = slice;
    return limits;
}

class SvmWaits : public testing::Test {
protected:
    explicit SvmWaits(const mmu::ShadowLimits& limits = {}) : machine(limits) {
        enable_processes(machine, RequestQueue::present);
        process.enter();
        for (std::uint64_t i = 0; i < 4; ++i) store_page(machine, first_data + i, i);
    }
    void submit(const abi::AccelCommand& command) {
        machine.put(command);
        machine.doorbell();
    }
    AccelResult finished() { return result_of(machine.wait_for_all() ? std::optional(machine.slot(0)) : std::nullopt); }
    /// The command in hand is dropped by a reset, and a later one served.
    void expect_reset_ends_it() {
        machine.device().reset();
        machine.pager().set_mood(FakePages::Mood::serve);
        enable_processes(machine, RequestQueue::present);
        process.map(Gva{0x5000'0000}, first_data + 3);
        EXPECT_EQ(result_of(machine.run(process.sum(Gva{0x5000'0000}, 8))), AccelResult::done);
    }

    AcceleratorMachine machine;
    AcceleratorProcess process{machine, 7, first_table};
};

TEST_F(SvmWaits, TheGuestSuppliesWhatIsAskedFor) {
    process.map(place, first_data);
    submit(process.sum(place, 2 * page_bytes));
    const auto request = wait_for_request(machine, 1);
    ASSERT_TRUE(request.has_value());
    EXPECT_EQ(request->address, (place + page_bytes).value());
    EXPECT_EQ(request->pasid, process.pasid());
    EXPECT_EQ(request->error_code, not_there);
    EXPECT_EQ(machine.get(AccelRegister::head), 0U);
    const std::uint64_t refused = machine.device().stats().refused;
    for (const std::uint64_t other : {0ULL, 1ULL, 4ULL, 5ULL, ~0ULL}) {
        machine.set(AccelRegister::request_response, other);
    }
    EXPECT_EQ(machine.device().stats().refused, refused + 5);

    respond(machine, 1, Served::yes);  // which is not true: the device asks again
    ASSERT_TRUE(wait_for_request(machine, 2).has_value());
    process.map(place + page_bytes, first_data + 1);
    respond(machine, 2, Served::yes);
    EXPECT_EQ(finished(), AccelResult::done);
    auto both = page_of(0);
    const auto second = page_of(1);
    both.insert(both.end(), second.begin(), second.end());
    EXPECT_EQ(machine.slot(0).value, sum_of(both));
    respond(machine, 2, Served::no);  // too late
    EXPECT_EQ(machine.device().stats().refused, refused + 6);
    EXPECT_EQ(machine.device().stats().guest_requests, 2U);
}

TEST_F(SvmWaits, TheGuestRefusesWhatIsAskedFor) {
    process.map(place, first_data, all_rights & ~mmu::guest_entry::writable);
    // More requests than the queue has entries.
    for (std::uint64_t i = 1; i <= abi::page_request_entries + 5; ++i) {
        machine.put(process.fill(place + i, 1, 0));
        machine.doorbell();
        const auto request = wait_for_request(machine, i);
        ASSERT_TRUE(request.has_value()) << i;
        EXPECT_EQ(request->address, (place + i).value());
        EXPECT_EQ(request->error_code, may_not_write);
        respond(machine, i, Served::no);
        ASSERT_TRUE(machine.wait_for_all());
        const abi::AccelCommand slot = machine.slot(i - 1);
        EXPECT_EQ(slot.result, static_cast<std::uint32_t>(AccelResult::page_fault));
        EXPECT_EQ(slot.value, (place + i).value());
    }
}

TEST_F(SvmWaits, ADisabledDeviceWaitsForTheAnswerStill) {
    submit(process.sum(place, 8));
    ASSERT_TRUE(wait_for_request(machine, 1).has_value());
    machine.set(AccelRegister::control, 0);
    respond(machine, 1, Served::no);
    EXPECT_EQ(finished(), AccelResult::page_fault);
}

TEST_F(SvmWaits, PauseDuringAPageRequest) {
    submit(process.sum(place, 8));
    ASSERT_TRUE(wait_for_request(machine, 1).has_value());
    machine.device().pause();
    machine.evict_all();
    process.map(place, first_data);
    respond(machine, 1, Served::yes);
    EXPECT_EQ(machine.get(AccelRegister::head), 0U);
    machine.device().resume();
    EXPECT_EQ(finished(), AccelResult::done);
}

TEST_F(SvmWaits, ResetDuringAPageRequest) {
    submit(process.sum(place, 8));
    ASSERT_TRUE(wait_for_request(machine, 1).has_value());
    expect_reset_ends_it();
    EXPECT_EQ(machine.get(AccelRegister::request_response), 0U);
    submit(process.sum(place, 8));
    EXPECT_TRUE(wait_for_request(machine, 1).has_value());  // counted anew
    machine.device().stop();
    EXPECT_EQ(machine.processes().watched_tables(), 0U);
}

TEST_F(SvmWaits, ResetWhileThePagerHasATable) {
    process.map(place, first_data);
    EXPECT_EQ(result_of(machine.run(process.sum(place, 8))), AccelResult::done);
    machine.evict(frame_of(process.entry(place, Level::page_4k)));
    machine.put(process.sum(place, 8));
    machine.pager().set_mood(FakePages::Mood::hold);
    machine.doorbell();
    while (machine.pager().waiting() == 0) ::sched_yield();
    machine.device().pause();
    machine.device().resume();
    expect_reset_ends_it();
}

TEST_F(SvmWaits, BringsInEachPageOfAWalk) {
    process.map(place, first_data);
    for (unsigned i = 0; i < 10; ++i) {
        machine.evict_all();
        const auto slot = machine.run(process.sum(place, page_bytes));
        ASSERT_EQ(result_of(slot), AccelResult::done);
        EXPECT_EQ(slot->value, sum_of(page_of(0)));
    }
}

/// The guest writes a table that the device just used, and has it for as long as the test may last.
class SvmSlices : public SvmWaits {
protected:
    explicit SvmSlices(std::chrono::microseconds slice = 30s) : SvmWaits(with_slices_of(slice)) {
        process.map(place, first_data);
        EXPECT_EQ(result_of(machine.run(process.sum(place, 8))), AccelResult::done);
        process.map(place, first_data + 1);
        EXPECT_EQ(machine.device().stats().broken_watches, 1U);
    }
    void wait_for_the_wait() {
        submit(process.sum(place, page_bytes));
        const auto until = steady_clock::now() + 10s;
        while (machine.device().stats().waits == 0 && steady_clock::now() < until) ::sched_yield();
        EXPECT_EQ(machine.device().stats().waits, 1U);
    }
};

TEST_F(SvmSlices, PauseDuringAGuestsSlice) {
    wait_for_the_wait();
    machine.device().pause();
    machine.evict_all();
    machine.device().resume();
    EXPECT_EQ(machine.get(AccelRegister::head), 1U);
    machine.device().stop();
    EXPECT_EQ(machine.processes().watched_tables(), 0U);
}

TEST_F(SvmSlices, ResetDuringAGuestsSlice) {
    wait_for_the_wait();
    machine.device().reset();
    EXPECT_EQ(machine.get(AccelRegister::head), 0U);
}

class SvmShortSlices : public SvmSlices {
protected:
    static constexpr std::chrono::milliseconds slice{300};
    SvmShortSlices() : SvmSlices(slice) {}
    /// How long the command after the write takes.
    steady_clock::duration time_of_a_command() {
        const auto begin = steady_clock::now();
        const auto slot = machine.run(process.sum(place, page_bytes));
        EXPECT_EQ(slot ? slot->value : 0, sum_of(page_of(1)));
        return steady_clock::now() - begin;
    }
};

TEST_F(SvmShortSlices, TheGuestHasItsTime) {
    const auto since = steady_clock::now();
    process.map(place, first_data + 1);  // within the slice: nobody watches
    EXPECT_EQ(machine.device().stats().broken_watches, 1U);
    (void)time_of_a_command();
    EXPECT_GT(steady_clock::now() - since, slice / 2);
    EXPECT_GE(machine.device().stats().waits, 1U);
}

#if defined(PENUMBRA_TEST_SWITCHES)

TEST_F(SvmShortSlices, ASliceThatIsIgnoredIsNoticed) {
    const mmu::PlantedShadowBug bug(mmu::ShadowBug::slice_ignored);
    (void)time_of_a_command();
    EXPECT_EQ(machine.device().stats().waits, 0U);
}

#endif

TEST_F(SvmWaits, StopsAfterItsAddressSpaceWasReleased) {
    process.map(place, first_data);
    EXPECT_EQ(result_of(machine.run(process.sum(place, 8))), AccelResult::done);
    machine.processes().release();
    submit(process.sum(place, 8));
    machine.device().stop();
    EXPECT_EQ(machine.get(AccelRegister::head), 1U);
}

TEST_F(SvmWaits, AProcessThatNeverServesIsStopped) {
    machine.put(process.sum(place, 8));
    machine.doorbell();
    for (std::uint64_t i = 1; i < 200; ++i) {
        ASSERT_TRUE(wait_for_request(machine, i).has_value());
        respond(machine, i, Served::yes);
        if (i % 50 == 0) {
            machine.device().pause();
            machine.device().resume();
        }
    }
    machine.device().stop();
    EXPECT_EQ(machine.get(AccelRegister::head), 0U);
}

}  // namespace
}  // namespace penumbra::test
