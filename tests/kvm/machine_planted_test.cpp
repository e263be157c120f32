// Planted bugs in the zap, flush and fault protocols: each must end the run, with a message that says what was broken.
// The same runs without a plant end clean, so that it is the plant that is caught.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <span>
#include <utility>

#include "base/assert.hpp"
#include "base/planted.hpp"
#include "base/thread.hpp"
#include "shadow-mmu/fault/fault_handler.hpp"
#include "tests/support/machine_fixture.hpp"

#if defined(PENUMBRA_TEST_SWITCHES)

namespace penumbra::vmm::test {
namespace {

constexpr const char* stale_entry = "a VMM or device thread touched guest memory through a stale entry";

/// Two vCPUs and the device, so that every table's entries come and go under somebody's use.
RunOptions busy_run() {
    RunOptions options = machine_options(PENUMBRA_GUEST_IMAGES "/churn");
    options.cpus = 2;
    options.accelerator = true;
    return options;
}

/// Runs to the end; a bug that nobody notices makes it leave without the message that the death test waits for.
void run_with(Plant which, std::int64_t times = -1) {
    const Planted planted(which, times);
    TestMachine machine(busy_run());
    (void)machine.wait_for(MachineState::ended);
}

/// The memory of a machine whose device wants pages that somebody else takes out.
class ContestedMemory {
public:
    ContestedMemory() {
        MemoryOptions options;
        options.memory_bytes = 16 * mib;
        options.budget_bytes = 16 * mib;
        options.compress = true;
        options.accelerator = true;
        options.stale = StalePolicy::fatal;
        options.on_error = [](const Error& error) { ADD_FAILURE() << error.message(); };
        options.on_served = [](pid_t) {};
        Result<std::unique_ptr<MemorySystem>> made = MemorySystem::create(std::move(options));
        if (!made) assertion_failed("memory", __FILE__, __LINE__, made.error().message());
        memory_ = std::move(*made);
    }

    /// The page is taken out while the device is in the middle of an access to it.
    void evict_during_access() {
        const ThreadRoleScope device(ThreadRole::device);
        fault(first);
        auto held = memory_->device_table()->access(first);
        ASSERT_TRUE(held.has_value());
        const Hvp page = held->page;
        std::atomic<bool> out{false};
        Thread evictor("evictor", ThreadRole::vmm, [&] {
            EXPECT_EQ(evict(page), 1U);
            out = true;
        });
        const bool left = eventually([&] { return out.load(); }, std::chrono::milliseconds{100});
        EXPECT_FALSE(left) << "it left under the device";
        EXPECT_EQ(first_byte(page), std::byte{0});
        held.reset();
        evictor.join();
        EXPECT_TRUE(out);
    }
    /// Each page is taken out once, while the device's fault on it is between its resolve and its install.
    void evict_during_faults() {
        const ThreadRoleScope device(ThreadRole::device);
        for (Gfn gfn = first; gfn < first + 20; ++gfn) {
            const Planted delay(Plant::delay_before_install, 2);  // of the vCPUs' table's install, then of the device's
            Thread evictor("evictor", ThreadRole::vmm, [&] {
                const Hvp page = *memory_->device_table()->memslots().to_host(gfn);
                const auto deadline = Clock::now() + patience;
                while (!memory_->ept().present(gfn) && Clock::now() < deadline) std::this_thread::yield();
                EXPECT_EQ(evict(page), 1U);
            });
            const bool used = eventually([&] {
                fault(gfn);
                const auto held = memory_->device_table()->access(gfn);
                return held && first_byte(held->page) == std::byte{0};
            });
            EXPECT_TRUE(used);
            evictor.join();
        }
        EXPECT_GT(memory_->device_table()->counters().retries.get(), 0U) << "no fault met an eviction";
    }

    /// The device uses a page, the page is taken out, the device wants it again.
    void use_after_eviction() {
        const ThreadRoleScope device(ThreadRole::device);
        fault(first);
        Hvp page{};
        {
            const auto held = memory_->device_table()->access(first);
            ASSERT_TRUE(held.has_value());
            page = held->page;
            EXPECT_EQ(first_byte(page), std::byte{0});
        }
        EXPECT_EQ(evict(page), 1U);
        const auto held = memory_->device_table()->access(first);
        EXPECT_FALSE(held.has_value()) << "a translation outlived its page";
        if (held) {
            EXPECT_EQ(first_byte(held->page), std::byte{0});
        }
    }

private:
    static constexpr Gfn first{512};

    void fault(Gfn gfn) {
        const auto outcome =
            mmu::handle_fault(*memory_->device_table(), memory_->window_source(), gfn, mmu::FaultAccess::write);
        ASSERT_TRUE(outcome.has_value()) << outcome.error().message();
    }
    std::size_t evict(Hvp page) {
        return memory_->reclaimer().evict_pages(std::span{&page, 1}, bridge::Blockable::yes).taken;
    }
    static std::byte first_byte(Hvp page) { return *static_cast<const volatile std::byte*>(pointer_to(page)); }

    std::unique_ptr<MemorySystem> memory_;
};

class MachinePlanted : public MachineTest {
protected:
    void SetUp() override {
        MachineTest::SetUp();
        GTEST_FLAG_SET(death_test_style, "threadsafe");
    }
};

TEST_F(MachinePlanted, WithoutAPlantTheRunEndsClean) {
    TestMachine machine(busy_run());
    ASSERT_TRUE(machine.wait_for(MachineState::ended));
    expect_clean_end(machine);
}

TEST_F(MachinePlanted, OneSkippedEptZapEndsTheRun) {
    EXPECT_DEATH(run_with(Plant::skip_ept_zap, 1), "the EPT table calls a page present that the kernel lacks");
}

TEST_F(MachinePlanted, OneSkippedEptFlushEndsTheRun) { EXPECT_DEATH(run_with(Plant::skip_ept_flush, 1), stale_entry); }

TEST_F(MachinePlanted, WithoutAPlantTheDeviceMissesAPageThatLeft) { ContestedMemory().use_after_eviction(); }

TEST_F(MachinePlanted, OneSkippedDeviceZapIsFoundByItsNextUse) {
    const auto run = [] {
        const Planted skip(Plant::skip_device_zap, 1);
        ContestedMemory().use_after_eviction();
    };
    EXPECT_DEATH(run(), stale_entry);
}

TEST_F(MachinePlanted, OneSkippedDeviceFlushIsFoundByItsNextUse) {
    const auto run = [] {
        const Planted skip(Plant::skip_device_flush, 1);
        ContestedMemory().use_after_eviction();
    };
    EXPECT_DEATH(run(), stale_entry);
}

TEST_F(MachinePlanted, SkippedDeviceZapEndsTheRun) { EXPECT_DEATH(run_with(Plant::skip_device_zap), stale_entry); }

TEST_F(MachinePlanted, SkippedDeviceFlushEndsTheRun) { EXPECT_DEATH(run_with(Plant::skip_device_flush), stale_entry); }

TEST_F(MachinePlanted, WithoutAPlantAFaultNoticesAnEvictionInBetween) { ContestedMemory().evict_during_faults(); }

TEST_F(MachinePlanted, SkippedSequenceRecheckInstallsAPageThatLeft) {
    const auto run = [] {
        const Planted skip(Plant::skip_sequence_recheck);
        ContestedMemory().evict_during_faults();
    };
    EXPECT_DEATH(run(), stale_entry);
}

TEST_F(MachinePlanted, WithoutAPlantAnEvictionWaitsForTheDevice) { ContestedMemory().evict_during_access(); }

TEST_F(MachinePlanted, SkippedDrainTakesThePageFromUnderTheDevice) {
    const auto run = [] {
        const Planted skip(Plant::skip_drain);
        ContestedMemory().evict_during_access();
    };
    EXPECT_DEATH(run(), stale_entry);
}

TEST_F(MachinePlanted, OneDroppedEndOfAnInvalidationEndsTheRun) {
    EXPECT_DEATH(run_with(Plant::drop_invalidate_end, 1), "a subscriber was started and never ended");
}

}  // namespace
}  // namespace penumbra::vmm::test

#endif
