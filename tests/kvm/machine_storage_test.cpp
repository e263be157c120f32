// Storage that fails under a running guest: the machine stands still in io_error with the page or the file named, loses
// nothing, and goes on once the cause is gone.
#include <gtest/gtest.h>

#include <string>

#include "base/planted.hpp"
#include "tests/support/machine_fixture.hpp"

#if defined(PENUMBRA_TEST_SWITCHES)

namespace penumbra::vmm::test {
namespace {

class MachineStorage : public MachineTest {
protected:
    static RunOptions churn(Tiers tiers) { return machine_options(PENUMBRA_GUEST_IMAGES "/churn", tiers); }

    /// Waits for io_error with every vCPU parked; its error.
    static Error stopped_by(TestMachine& machine) {
        const bool stopped = eventually([&] { return machine->status().state == MachineState::io_error; });
        EXPECT_TRUE(stopped) << "state " << static_cast<int>(machine->status().state);
        return machine->status().error.value_or(Error{});
    }
    static void expect_to_go_on(TestMachine& machine) {
        machine->resume();
        ASSERT_TRUE(machine.wait_for(MachineState::ended));
        expect_clean_end(machine);
    }
};

TEST_F(MachineStorage, FullDiskStopsTheMachineAndNothingIsLost) {
    const RunOptions options = churn(Tiers::file);
    TestMachine machine(options);
    {
        const Planted full(Plant::full_disk);
        const Error error = stopped_by(machine);
        EXPECT_EQ(error.error_number, ENOSPC) << error.message();
        EXPECT_EQ(error.object, options.swap.front().path) << error.message();
        EXPECT_NE(error.cure, "") << error.message();
        machine->resume();  // the cause is still there
        EXPECT_EQ(stopped_by(machine).error_number, ENOSPC);
    }
    expect_to_go_on(machine);
}

TEST_F(MachineStorage, CompressionAloneThatCannotHoldTheGuestStopsTheMachine) {
    TestMachine machine(churn(Tiers::lz4));
    const Error error = stopped_by(machine);
    EXPECT_NE(error.cure.find("--swap file:PATH"), std::string::npos) << error.message();
}

TEST_F(MachineStorage, FullDiskBehindCompressedMemoryStopsTheMachineAndNothingIsLost) {
    const RunOptions options = churn(Tiers::lz4_and_file);
    TestMachine machine(options);
    {
        const Planted full(Plant::full_disk);
        const Error error = stopped_by(machine);
        EXPECT_EQ(error.error_number, ENOSPC) << error.message();
        EXPECT_EQ(error.object, options.swap.back().path) << error.message();
    }
    expect_to_go_on(machine);
}

TEST_F(MachineStorage, ReadsThatComeBackShortStopTheMachineAndNothingIsLost) {
    const RunOptions options = churn(Tiers::file);
    TestMachine machine(options);
    {
        const Planted cut(Plant::short_read);
        const Error error = stopped_by(machine);
        EXPECT_NE(error.message().find("guest page"), std::string::npos) << error.message();
        EXPECT_NE(error.message().find(options.swap.front().path), std::string::npos) << error.message();
    }
    expect_to_go_on(machine);
}

void expect_corruption_named(Tiers tiers) {
    const Planted corrupt(Plant::corrupt_stored_page);
    TestMachine machine(machine_options(PENUMBRA_GUEST_IMAGES "/churn", tiers));
    const auto stopped = [&] { return machine->status().state == MachineState::io_error; };
    ASSERT_TRUE(eventually(stopped));
    const std::string message = machine->status().error->message();
    EXPECT_NE(message.find("guest page "), std::string::npos) << message;
    // The page's only copy is damaged: trying again must not make anything up.
    machine->resume();
    ASSERT_TRUE(eventually(stopped));
    EXPECT_NE(machine->status().error->message().find("guest page "), std::string::npos);
    EXPECT_FALSE(machine->status().exit_status.has_value());
}

TEST_F(MachineStorage, CorruptPageInCompressedMemoryIsNamedAndNeverHandedOut) { expect_corruption_named(Tiers::lz4); }

TEST_F(MachineStorage, CorruptPageInTheFileIsNamedAndNeverHandedOut) { expect_corruption_named(Tiers::file); }

TEST_F(MachineStorage, DeadFaultWorkerStopsTheMachineAndItCanBeDestroyed) {
    TestMachine machine(churn(Tiers::lz4_and_file));
    ASSERT_TRUE(machine.wait_for_line("fill"));
    {
        const Planted dead(Plant::dead_worker);
        const Error error = stopped_by(machine);
        EXPECT_NE(error.message().find("a fault worker ended"), std::string::npos) << error.message();
    }
    EXPECT_LT(machine.destroy(), std::chrono::seconds{10});
}

}  // namespace
}  // namespace penumbra::vmm::test

#endif
