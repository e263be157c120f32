// What the machine says about its memory against what the kernel and the guest say.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <fstream>
#include <map>
#include <optional>
#include <span>
#include <sstream>
#include <string>

#include "guest-images/common/churn_layout.hpp"
#include "tests/support/machine_fixture.hpp"

namespace penumbra::vmm::test {
namespace {

struct Mapping {
    std::uint64_t end = 0;
    std::uint64_t rss = 0;
    bool writable = false;
};
/// This process's mappings by their first address (proc_pid_smaps(5)).
std::map<std::uint64_t, Mapping> mappings() {
    std::map<std::uint64_t, Mapping> found;
    std::ifstream smaps("/proc/self/smaps");
    Mapping* now = nullptr;
    for (std::string line; std::getline(smaps, line);) {
        std::istringstream words(line);
        std::string first;
        words >> first;
        if (first.ends_with(':')) {
            std::uint64_t kilobytes = 0;
            if (first == "Rss:" && now != nullptr && words >> kilobytes) now->rss = kilobytes * 1024;
            continue;
        }
        const std::size_t dash = first.find('-');
        now = &found[std::stoull(first.substr(0, dash), nullptr, 16)];
        now->end = std::stoull(first.substr(dash + 1), nullptr, 16);
        std::string permissions;
        words >> permissions;
        now->writable = permissions.starts_with("rw");
    }
    return found;
}
/// Bytes that the kernel has present in the range, whose edges are edges of mappings.
std::uint64_t resident_bytes(const std::map<std::uint64_t, Mapping>& all, HvpRange range) {
    const std::uint64_t begin = address_of(range.first()).value();
    const std::uint64_t end = begin + range.bytes();
    std::uint64_t total = 0;
    std::uint64_t covered = 0;
    for (auto at = all.lower_bound(begin); at != all.end() && at->second.end <= end; ++at) {
        total += at->second.rss;
        covered += at->second.end - at->first;
    }
    EXPECT_EQ(covered, range.bytes()) << "the kernel has merged the range with a neighbour";
    return total;
}

class MachineMemory : public MachineTest {
protected:
    static RunOptions churn(Tiers tiers) { return machine_options(PENUMBRA_GUEST_IMAGES "/churn", tiers); }

    static void expect_accounts_to_agree(TestMachine& machine, std::uint64_t pool_rss) {
        PagerState& state = machine->memory().state();
        const auto all = mappings();
        const std::uint64_t rss = resident_bytes(all, machine->memory().window_pages()) +
                                  resident_bytes(all, state.limbo->staging()) + pool_rss;
        const std::uint64_t charged = state.budget.charged();
        constexpr std::uint64_t slack = 64 * page_bytes;  // pages that were read and never written: charged, not in RSS
        EXPECT_GT(rss, state.budget.limit() / 2) << "the measurement missed the memory";
        EXPECT_LE(rss, charged + charged / 20);
        EXPECT_LE(charged, rss + rss / 20 + slack);
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
        expect_accounts_to_agree(machine, 0);
        machine->resume();
    }
}

TEST_F(MachineMemory, ChargedBytesAreTheKernelsWithCompressedMemory) {
    const auto before = mappings();
    const RunOptions options = churn(Tiers::lz4_and_file);
    TestMachine machine(options);
    const std::uint64_t window = address_of(machine->memory().window_pages().first()).value();
    for (const char* phase : {"sequential", "strided", "uniform"}) {
        ASSERT_TRUE(machine.wait_for_line(phase));
        ASSERT_TRUE(machine.pause_until_quiet());
        // The pool has address space for four times the budget: the largest new mapping to write to, but for the
        // window.
        std::uint64_t largest = 0;
        std::uint64_t pool_rss = 0;
        for (const auto& [first, mapping] : mappings()) {
            if (first == window || before.contains(first) || !mapping.writable || mapping.end - first <= largest)
                continue;
            largest = mapping.end - first;
            pool_rss = mapping.rss;
        }
        ASSERT_GE(largest, 4 * options.budget_bytes);
        EXPECT_GT(pool_rss, mib) << "nothing was compressed";
        expect_accounts_to_agree(machine, pool_rss);
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
