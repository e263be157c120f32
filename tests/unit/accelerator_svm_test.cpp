// Commands in a process's addresses: what they do, and each way in which they end.
#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "tests/support/accelerator_process.hpp"
#include "vmm/devices/accelerator/command.hpp"

namespace penumbra::test {
namespace {

using abi::AccelCommand;
using abi::AccelOpcode;
using abi::AccelRegister;
using abi::AccelResult;
using abi::PasidFlag;

constexpr std::uint64_t all_ones = ~std::uint64_t{0};
constexpr std::uint64_t lowest_high = ~std::uint64_t{0} << 47;
constexpr Gva place{0x7F00'0000'0000};

std::vector<std::byte> joined(std::initializer_list<std::uint64_t> seeds) {
    std::vector<std::byte> all;
    for (const std::uint64_t seed : seeds) {
        const auto page = page_of(seed);
        all.insert(all.end(), page.begin(), page.end());
    }
    return all;
}

class Svm : public testing::Test {
protected:
    Svm() { enable_processes(machine, RequestQueue::none); }
    AccelResult run(const AccelCommand& command) { return result_of(machine.run(command)); }
    std::uint64_t run_sum(const AcceleratorProcess& of, Gva from, std::uint64_t bytes) {
        const auto slot = machine.run(of.sum(from, bytes));
        EXPECT_EQ(result_of(slot), AccelResult::done);
        return slot ? slot->value : 0;
    }

    AcceleratorMachine machine;
    AcceleratorProcess process{machine, 7, first_table};
};

TEST_F(Svm, WorksInAProcesssAddresses) {
    process.enter();
    for (std::uint64_t i = 0; i < 3; ++i) {
        process.map(place + i * page_bytes, first_data + 9 - 4 * i);  // scattered, in another order
        process.map(Gva{lowest_high} + i * page_bytes, first_data + 20 + 3 * i);
        store_page(machine, first_data + 9 - 4 * i, i);
    }
    const auto content = joined({0, 1, 2});
    const std::span some = std::span(content).subspan(77, 2 * page_bytes + 99);
    EXPECT_EQ(run_sum(process, place + 77, some.size()), sum_of(some));

    EXPECT_EQ(run(process.copy(place + 77, Gva{lowest_high} + 5, some.size())), AccelResult::done);
    EXPECT_EQ(run_sum(process, Gva{lowest_high} + 5, some.size()), sum_of(some));
    EXPECT_EQ(load_page(machine, first_data + 20)[5], content[77]);

    EXPECT_EQ(run(process.fill(place + 1, page_bytes, 0x0807'0605'0403'0201)), AccelResult::done);
    const auto filled = load_page(machine, first_data + 5);
    EXPECT_EQ(filled[0], std::byte((page_bytes - 1) % 8 + 1));
    EXPECT_EQ(filled[1], content[page_bytes + 1]);
    const auto stats = machine.device().stats();
    EXPECT_EQ(stats.process_commands, 4U);
    EXPECT_EQ(stats.bytes, 3 * some.size() + page_bytes);
    EXPECT_GE(stats.process_faults, 6U);
    EXPECT_EQ(stats.guest_requests, 0U);
}

TEST_F(Svm, SetsAccessedAndDirtyFlags) {
    process.enter();
    const std::uint64_t fresh = all_rights & ~(mmu::guest_entry::accessed | mmu::guest_entry::dirty);
    process.map(place, first_data, fresh);
    EXPECT_EQ(run(process.sum(place, 8)), AccelResult::done);
    const Gpa entry = process.entry(place, Level::page_4k);
    EXPECT_EQ(machine.load(entry), address_of(first_data).value() | fresh | mmu::guest_entry::accessed);
    EXPECT_EQ(run(process.fill(place, 8, 1)), AccelResult::done);
    EXPECT_EQ(machine.load(entry), address_of(first_data).value() | all_rights);
}

TEST_F(Svm, TheNextCommandSeesARemap) {
    process.enter();
    store_page(machine, first_data, 1);
    store_page(machine, first_data + 1, 2);
    for (unsigned i = 0; i < 20; ++i) {
        process.map(place, first_data + i % 2);
        EXPECT_EQ(run_sum(process, place, page_bytes), sum_of(page_of(1 + i % 2))) << i;
    }
    EXPECT_GE(machine.device().stats().broken_watches, 19U);
}

TEST_F(Svm, CopiesWithinAPageThatHasTwoAddresses) {
    process.enter();
    process.map(place, first_data);
    process.map(place + page_bytes, first_data);
    store_page(machine, first_data, 3);
    EXPECT_EQ(run(process.copy(place, place + page_bytes + 100, 2000)), AccelResult::done);
    auto expected = page_of(3);
    std::copy_n(page_of(3).begin(), 2000, expected.begin() + 100);
    EXPECT_EQ(load_page(machine, first_data), expected);
}

TEST_F(Svm, AnswersBadCommands) {
    process.enter();
    process.map(place, first_data);
    const auto with_flags = [&](std::uint32_t flags) {
        AccelCommand command = process.sum(place, 8);
        command.flags = flags;
        return command;
    };
    AccelCommand nop = process.command(AccelOpcode::nop, all_ones, all_ones, all_ones);
    nop.pasid = 1;
    constexpr std::uint64_t limit = vmm::max_command_bytes;
    struct Case {
        AccelCommand command;
        AccelResult result;
    };
    const std::array cases{
        Case{with_flags(2), AccelResult::bad_command},
        Case{with_flags(3), AccelResult::bad_command},
        Case{with_flags(0), AccelResult::bad_address},  // no such guest-physical address
        Case{nop, AccelResult::done},
        Case{process.sum(place, 0), AccelResult::bad_command},
        Case{process.sum(place, limit + 1), AccelResult::bad_command},
        Case{process.copy(place, place + 7, 8), AccelResult::bad_command},
        Case{process.copy(place + 7, place, 8), AccelResult::bad_command},
        Case{process.copy(place, place + 8, 8), AccelResult::done},
        Case{process.sum(Gva{all_ones}, 2), AccelResult::bad_address},  // wraps
        Case{process.sum(Gva{all_ones}, 1), AccelResult::page_fault},
        Case{process.sum(Gva{1ULL << 47}, 1), AccelResult::bad_address},  // between the halves
        Case{process.sum(Gva{(1ULL << 47) - 8}, 9), AccelResult::bad_address},
        Case{process.sum(Gva{lowest_high} - 1, 2), AccelResult::bad_address},
        Case{process.fill(Gva{1ULL << 50}, 1, 0), AccelResult::bad_address},
        Case{process.invalidate(place, limit + 1), AccelResult::bad_command},
        Case{process.invalidate(Gva{1ULL << 47}, 1), AccelResult::bad_address},
        Case{process.invalidate(place, 0), AccelResult::done},
        Case{process.invalidate(place, 1), AccelResult::done},
        Case{process.invalidate(Gva{all_ones}, 1), AccelResult::done},
    };
    for (std::size_t i = 0; i < cases.size(); ++i) EXPECT_EQ(run(cases[i].command), cases[i].result) << i;
}

TEST_F(Svm, WithoutAQueueAForbiddenAccessEndsTheCommand) {
    process.enter();
    process.map(place, first_data, all_rights & ~mmu::guest_entry::writable);
    process.map(place + page_bytes, first_data + 1, all_rights & ~mmu::guest_entry::user);
    const auto fault_of = [&](const AccelCommand& command) {
        const auto slot = machine.run(command);
        EXPECT_EQ(result_of(slot), AccelResult::page_fault);
        return slot ? slot->value : 0;
    };
    EXPECT_EQ(run(process.sum(place, page_bytes)), AccelResult::done);
    EXPECT_EQ(fault_of(process.fill(place + 9, 1, 0)), (place + 9).value());
    EXPECT_EQ(fault_of(process.sum(place + 9, page_bytes)), (place + page_bytes).value());
    EXPECT_EQ(fault_of(process.sum(place + 3 * page_bytes, 1)), (place + 3 * page_bytes).value());
    EXPECT_EQ(fault_of(process.copy(place, place + 2 * page_bytes, 8)), (place + 2 * page_bytes).value());
    EXPECT_EQ(machine.device().stats().guest_faults, 4U);
}

TEST_F(Svm, RefusesWhatIsNoRamAndItsOwnTables) {
    process.enter();
    process.map(place, Gfn{0x20'0000});  // no RAM
    const Gfn lowest{process.entry(place, Level::page_4k).value() >> page_shift};
    process.map(place + page_bytes, lowest);
    EXPECT_EQ(run(process.sum(place, 1)), AccelResult::bad_address);
    EXPECT_EQ(run(process.fill(place + page_bytes, 8, 0)), AccelResult::bad_address);
    EXPECT_EQ(run(process.sum(place + page_bytes, 8)), AccelResult::done);
    // A table that is no RAM: as the processor sees it, nothing is mapped there.
    machine.store(process.entry(place, Level::page_1g), address_of(Gfn{0x20'0000}).value() | all_rights);
    EXPECT_EQ(run(process.sum(place, 1)), AccelResult::page_fault);
}

TEST_F(Svm, FiveLevelsReachFurther) {
    AcceleratorProcess wide(machine, 9, first_table + 16, Level::top_5);
    constexpr Gva far{1ULL << 55};
    wide.enter();
    wide.map(far, first_data);
    store_page(machine, first_data, 5);
    EXPECT_EQ(run_sum(wide, far, page_bytes), sum_of(page_of(5)));
    EXPECT_EQ(run(wide.sum(Gva{1ULL << 56}, 1)), AccelResult::bad_address);
    process.enter();
    EXPECT_EQ(run(process.sum(far, 1)), AccelResult::bad_address);
}

}  // namespace
}  // namespace penumbra::test
