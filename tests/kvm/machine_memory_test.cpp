// What the machine says about its memory against what the kernel and the guest say.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <span>
#include <string>

#include "guest-images/common/churn_layout.hpp"
#include "tests/support/machine_fixture.hpp"
#include "vmm/memory/pagemap.hpp"

namespace penumbra::vmm::test {
namespace {

/// Bytes that the kernel has present in the range, by its own page tables.
std::uint64_t present_bytes(HvpRange range) {
    const auto pagemap = Pagemap::open();
    const auto present = pagemap->present(range);
    EXPECT_TRUE(present.has_value());
    return static_cast<std::uint64_t>(std::count(present->begin(), present->end(), true)) * page_bytes;
}

class MachineMemory : public MachineTest {
protected:
    static RunOptions churn(Tiers tiers) { return machine_options(PENUMBRA_GUEST_IMAGES "/churn", tiers); }

    static void expect_accounts_to_agree(TestMachine& machine) {
        PagerState& state = machine->memory().state();
        const std::uint64_t pool = state.compressed ? present_bytes(state.compressed->memory()) : 0;
        const std::uint64_t kernel =
            present_bytes(machine->memory().window_pages()) + present_bytes(state.limbo->staging()) + pool;
        const std::uint64_t charged = state.budget.charged();
        constexpr std::uint64_t slack = 64 * page_bytes;  // the pool's descriptors: charged, and elsewhere
        EXPECT_GT(kernel, state.budget.limit() / 2) << "the measurement missed the memory";
        EXPECT_LE(kernel, charged + charged / 20);
        EXPECT_LE(charged, kernel + kernel / 20 + slack);
        if (state.compressed) {
            EXPECT_GT(pool, mib) << "nothing was compressed";
        }
    }
};

TEST_F(MachineMemory, EptTableAndKernelAgreeWheneverTheMachineIsQuiet) {
    RunOptions options = churn(Tiers::lz4_and_file);
    options.cpus = 2;
    options.accelerator = true;
    TestMachine machine(options);
    const Counter& out = machine->memory().state().stats.swapped_out;
    for (int pauses = 0; pauses < 5; ++pauses) {
        const std::uint64_t before = out.get();
        ASSERT_TRUE(
            eventually([&] { return out.get() > before + 2000 || machine->status().state == MachineState::ended; }));
        ASSERT_NE(machine->status().state, MachineState::ended) << "the run is too short for the test";
        ASSERT_TRUE(machine.pause_until_quiet());
        const Result<std::uint64_t> different = machine->memory().disagreements();
        ASSERT_TRUE(different.has_value()) << different.error().message();
        EXPECT_EQ(*different, 0U);
        machine->resume();
    }
    ASSERT_TRUE(machine.wait_for(MachineState::ended));
    expect_clean_end(machine);
}

TEST_F(MachineMemory, DisagreementsCountsAPageThatTheKernelLost) {
    TestMachine machine(churn(Tiers::lz4_and_file));
    ASSERT_TRUE(machine.wait_for_line("pass 1/1 sequential"));
    ASSERT_TRUE(machine.pause_until_quiet());
    MemorySystem& memory = machine->memory();
    std::uint64_t present = 0;
    while (!memory.ept().present(memory.layout().gfn_of(present))) ++present;
    ASSERT_EQ(::madvise(pointer_to(memory.window_pages().first() + present), page_bytes, MADV_DONTNEED), 0);
    EXPECT_EQ(memory.disagreements(), std::uint64_t{1});
}

TEST_F(MachineMemory, ChargedBytesAreTheKernelsWithAFileAlone) {
    TestMachine machine(churn(Tiers::file));
    for (const char* phase : {"sequential", "strided", "uniform"}) {
        ASSERT_TRUE(machine.wait_for_line(phase));
        ASSERT_TRUE(machine.pause_until_quiet());
        expect_accounts_to_agree(machine);
        machine->resume();
    }
}

TEST_F(MachineMemory, ChargedBytesAreTheKernelsWithCompressedMemory) {
    TestMachine machine(churn(Tiers::lz4_and_file));
    for (const char* phase : {"sequential", "strided", "uniform"}) {
        ASSERT_TRUE(machine.wait_for_line(phase));
        ASSERT_TRUE(machine.pause_until_quiet());
        expect_accounts_to_agree(machine);
        machine->resume();
    }
}

TEST_F(MachineMemory, ByteChangedBehindTheGuestsBackIsFoundAndItsPageNamed) {
    TestMachine machine(churn(Tiers::lz4_and_file));
    ASSERT_TRUE(machine.wait_for_line("pass 1/1 strided"));
    machine->pause();
    ASSERT_TRUE(machine.wait_for(MachineState::paused));

    MemorySystem& memory = machine->memory();
    abi::BootInfo boot{};
    const auto read = memory.read(Gpa{abi::boot_info_base}, std::as_writable_bytes(std::span{&boot, 1}));
    ASSERT_TRUE(read.has_value());
    const guest::ChurnLayout layout(boot);
    std::optional<std::uint64_t> spoilt;
    for (std::uint64_t page = layout.pages() - 1; page > 0 && !spoilt; --page) {
        const auto held = memory.ept().access(frame_of(Gpa{layout.gpa(page)}));
        if (!held) continue;
        pointer_to(held->page)[1234] ^= std::byte{1};
        spoilt = layout.gpa(page);
    }
    ASSERT_TRUE(spoilt.has_value()) << "no page of the workload is resident";
    machine->resume();

    ASSERT_TRUE(machine.wait_for(MachineState::ended));
    EXPECT_EQ(machine->status().exit_status, std::uint64_t{1});
    EXPECT_GE(machine->port().last_report()->mismatches, 1U);
    EXPECT_EQ(machine->port().last_report()->first_bad_gpa, *spoilt);
    std::ostringstream name;
    name << "page gpa 0x" << std::hex << *spoilt << ' ';
    EXPECT_TRUE(machine.wait_for_line(name.str())) << "the guest did not name " << name.str();
}

}  // namespace
}  // namespace penumbra::vmm::test
