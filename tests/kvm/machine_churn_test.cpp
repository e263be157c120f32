// Whole runs of churn on KVM: every page of an overcommitted guest is right each time it is looked at, whatever the
// tiers.
#include <gtest/gtest.h>

#include <string>

#include "tests/support/machine_fixture.hpp"

namespace penumbra::vmm::test {
namespace {

class MachineChurn : public MachineTest {
protected:
    static RunOptions churn(Tiers tiers = Tiers::lz4_and_file) {
        return machine_options(PENUMBRA_GUEST_IMAGES "/churn", tiers);
    }
};

TEST_F(MachineChurn, EndsCleanOverCompressedMemoryAndFile) {
    TestMachine machine(churn(Tiers::lz4_and_file));
    ASSERT_TRUE(machine.wait_for(MachineState::ended));
    expect_clean_end(machine);
    EXPECT_GT(machine.report().pager.swapped_in_pages, 0U);
}

TEST_F(MachineChurn, EndsCleanOverAFileAlone) {
    TestMachine machine(churn(Tiers::file));
    ASSERT_TRUE(machine.wait_for(MachineState::ended));
    expect_clean_end(machine);
    EXPECT_GT(machine.report().pager.swapped_in_pages, 0U);
}

TEST_F(MachineChurn, EndsCleanWherePagesAreCopiedOut) {
    RunOptions options = churn();
    options.take_out = TakeOutMode::copy;
    TestMachine machine(options);
    ASSERT_TRUE(machine.wait_for(MachineState::ended));
    expect_clean_end(machine);
    EXPECT_EQ(machine.report().environment.take_out, "copy");
}

TEST_F(MachineChurn, EndsCleanWithTwoCpusAndTheAccelerator) {
    RunOptions options = churn();
    options.cpus = 2;
    options.accelerator = true;
    TestMachine machine(options);
    ASSERT_TRUE(machine.wait_for(MachineState::ended));
    expect_clean_end(machine);
    EXPECT_GT(machine->port().last_report()->accelerator_sums, 100U / slowness());
    EXPECT_GT(machine.report().accelerator.page_requests_out, 0U) << "the device found its pages swapped out";
}

TEST_F(MachineChurn, EndsCleanAtSixteenToOne) {
    RunOptions options = churn();
    options.memory_bytes = 256 * mib;
    options.budget_bytes = 16 * mib;
    TestMachine machine(options);
    ASSERT_TRUE(machine.wait_for(MachineState::ended));
    expect_clean_end(machine);
    EXPECT_GT(machine.report().pager.swapped_out_pages, 4 * options.memory_bytes / page_bytes) << "every page, often";
}

TEST_F(MachineChurn, SweepsTakeEveryPageWhileTheGuestAndTheDeviceWork) {
    RunOptions options = churn();
    options.cpus = 2;
    options.accelerator = true;
    TestMachine machine(options);
    ASSERT_TRUE(machine.wait_for_line("pass 1/1 sequential"));
    for (int sweep = 0; sweep < 3; ++sweep) {
        const PagerState& state = machine->memory().state();
        ASSERT_TRUE(eventually([&] { return state.budget.pages() > state.limbo->used() + 512U; }))
            << "the guest works on";
        const MemorySystem::SweepResult result = machine->memory().evict_everything();
        EXPECT_EQ(result.kept, 0U);
        EXPECT_GT(result.taken, 128U);
        EXPECT_EQ(result.taken + result.was_out, options.memory_bytes / page_bytes);
    }
    ASSERT_TRUE(machine.wait_for(MachineState::ended));
    expect_clean_end(machine);
}

}  // namespace
}  // namespace penumbra::vmm::test
