// PASID table and registers as a hostile guest fills them; processes that come, change and go.
#include <gtest/gtest.h>

#include <array>
#include <random>

#include "shadow-mmu/shadow/shadow_bugs.hpp"
#include "tests/support/accelerator_process.hpp"

namespace penumbra::test {
namespace {

using abi::AccelRegister;
using abi::AccelResult;
using abi::PasidEntry;
using abi::PasidFlag;

constexpr Gva place{0x1234'5000};
constexpr std::uint64_t flag(PasidFlag one) { return static_cast<std::uint64_t>(one); }
constexpr std::uint64_t present = flag(PasidFlag::present);
constexpr std::uint64_t announces = flag(PasidFlag::announces);
constexpr std::uint64_t cooperative = announces | flag(PasidFlag::cooperative);
constexpr std::uint64_t unsync = announces | flag(PasidFlag::unsync_leaves);

class Pasid : public testing::Test {
protected:
    Pasid() {
        enable_processes(machine, RequestQueue::none);
        for (std::uint64_t i = 0; i < 4; ++i) store_page(machine, first_data + i, i);
    }
    AccelResult run(const AcceleratorProcess& of) { return result_of(machine.run(of.sum(place, 8))); }
    /// Number of the data page that the process has there.
    std::uint64_t seen(const AcceleratorProcess& of) {
        const auto slot = machine.run(of.sum(place, page_bytes));
        for (std::uint64_t i = 0; i < 4; ++i) {
            if (result_of(slot) == AccelResult::done && slot->value == sum_of(page_of(i))) return i;
        }
        return ~std::uint64_t{0};
    }
    std::size_t open_contexts() {
        std::size_t open = 0;
        while (machine.processes().open_context({.root = Gpa{0}, .mode = {}})) ++open;
        for (std::uint16_t i = 0; i < mmu::ShadowTable::most_contexts; ++i) others.push_back(mmu::ContextId{i});
        return mmu::ShadowTable::most_contexts - open;
    }

    AcceleratorMachine machine;
    AcceleratorProcess process{machine, 7, first_table};
    std::vector<mmu::ContextId> others;
};

TEST_F(Pasid, RegistersTakePagesOfRamWhileDisabled) {
    const std::uint64_t page = address_of(pasid_table).value();
    for (const AccelRegister at : {AccelRegister::pasid_table_gpa, AccelRegister::request_queue_gpa}) {
        machine.set(AccelRegister::control, 1);
        const std::uint64_t now = machine.get(at);
        std::uint64_t refused = machine.device().stats().refused;
        machine.set(at, 0);
        EXPECT_EQ(machine.get(at), now);
        machine.set(AccelRegister::control, 0);
        for (const std::uint64_t bad : {page + 8, page - 16 * page_bytes, ~std::uint64_t{0}, std::uint64_t{1} << 52}) {
            machine.set(at, bad);
            EXPECT_EQ(machine.get(at), now) << bad;
        }
        EXPECT_EQ(machine.device().stats().refused, refused + 5);
        machine.set(at, page + page_bytes);
        EXPECT_EQ(machine.get(at), page + page_bytes);
        machine.set(at, 0);
        EXPECT_EQ(machine.get(at), 0U);
        refused = machine.device().stats().refused;
        machine.set(AccelRegister::request_response, 0);  // nothing was asked
        machine.set(AccelRegister::request_response, 2);
        EXPECT_EQ(machine.device().stats().refused, refused + 2);
    }
}

TEST_F(Pasid, EntriesThatMakeNoSense) {
    const std::uint64_t root = address_of(process.root()).value();
    const std::array bad{
        PasidEntry{0, 0},
        PasidEntry{root, 0},
        PasidEntry{root | present, 1},
        PasidEntry{root | present | 1 << 5, 0},
        PasidEntry{root | present | 1 << 11, 0},
        PasidEntry{root | present | flag(PasidFlag::cooperative), 0},
        PasidEntry{root | present | flag(PasidFlag::unsync_leaves), 0},
        PasidEntry{root | present | cooperative | unsync, 0},
        PasidEntry{present, 0},  // a root that is no RAM
        PasidEntry{root | present | std::uint64_t{1} << 52, 0},
        PasidEntry{root | present | std::uint64_t{1} << 63, 0},
        PasidEntry{~std::uint64_t{0}, ~std::uint64_t{0}},
    };
    process.map(place, first_data);
    for (std::size_t i = 0; i < bad.size(); ++i) {
        process.enter();
        EXPECT_EQ(run(process), AccelResult::done) << i;
        set_pasid_entry(machine, process.pasid(), bad[i]);
        EXPECT_EQ(run(process), AccelResult::bad_pasid) << i;
        EXPECT_EQ(machine.processes().shadow_pages(), 0U) << i;  // the process is forgotten
    }
    process.enter();
    EXPECT_EQ(run(process), AccelResult::done);
    const AcceleratorProcess beyond(machine, abi::pasid_entries, first_table);
    EXPECT_EQ(run(beyond), AccelResult::bad_pasid);
    EXPECT_EQ(run(AcceleratorProcess(machine, ~0U, first_table)), AccelResult::bad_pasid);
    machine.set(AccelRegister::control, 0);
    machine.set(AccelRegister::pasid_table_gpa, 0);
    machine.enable(process_ring_entries);
    EXPECT_EQ(run(process), AccelResult::bad_pasid);
}

TEST_F(Pasid, ARootIsSwitchedByItsEntry) {
    AcceleratorProcess other(machine, process.pasid(), first_table + 8);
    process.map(place, first_data);
    other.map(place, first_data + 1);
    for (const std::uint64_t flags : {std::uint64_t{0}, unsync, cooperative}) {
        for (unsigned i = 0; i < 4; ++i) {
            process.enter(flags);
            EXPECT_EQ(seen(process), 0U);
            other.enter(flags);
            EXPECT_EQ(seen(process), 1U);
        }
    }
}

/// Whether a cooperative process that comes back to a root sees what became of its tables meanwhile.
bool sees_changes_behind_a_root(AcceleratorMachine& machine, AcceleratorProcess& process) {
    AcceleratorProcess other(machine, process.pasid(), first_table + 8);
    process.map(place, first_data);
    other.map(place, first_data);
    const auto sum = [&] {
        const auto slot = machine.run(process.sum(place, page_bytes));
        return slot ? slot->value : 0;
    };
    process.enter(cooperative);
    (void)sum();
    other.enter(cooperative);
    (void)sum();
    process.map(place, first_data + 2);
    process.enter(cooperative);
    return sum() == sum_of(page_of(2));
}

TEST_F(Pasid, ARootThatComesBackIsReadAgain) { EXPECT_TRUE(sees_changes_behind_a_root(machine, process)); }

TEST_F(Pasid, AnAnnouncementCountsBehindALinkThatWasLost) {
    AcceleratorProcess other(machine, process.pasid(), first_table + 8);
    process.map(place, first_data);
    process.map(place + page_bytes, first_data + 2);
    machine.store(address_of(other.root()), machine.load(address_of(process.root())));
    process.enter(unsync);
    EXPECT_EQ(seen(process), 0U);
    other.enter(unsync);
    EXPECT_EQ(seen(process), 0U);
    machine.evict(other.root());  // what lies below hangs at the first root now
    process.map(place, first_data + 1);
    EXPECT_EQ(result_of(machine.run(process.invalidate(place, 1))), AccelResult::done);
    EXPECT_EQ(result_of(machine.run(process.sum(place + page_bytes, 8))), AccelResult::done);  // links it again
    EXPECT_EQ(seen(process), 1U);
}

TEST_F(Pasid, ACooperativeProcessAnnounces) {
    process.map(place, first_data);
    for (const std::uint64_t flags : {cooperative, unsync}) {
        process.map(place, first_data);
        process.enter(flags);
        EXPECT_EQ(run(process), AccelResult::done);
        for (std::uint64_t i = 0; i < 4; ++i) {
            process.map(place, first_data + i);
            const auto range = i % 2 == 0 ? process.invalidate(place + 8, 1) : process.invalidate(place, 0);
            EXPECT_EQ(result_of(machine.run(range)), AccelResult::done);
            EXPECT_EQ(seen(process), i);
        }
        abi::AccelCommand plain = process.invalidate(place, 0);
        plain.flags = 0;
        EXPECT_EQ(result_of(machine.run(plain)), AccelResult::done);
    }
    EXPECT_EQ(machine.device().stats().broken_watches, 0U);
    const auto stranger = AcceleratorProcess(machine, 8, first_table).invalidate(place, 0);
    EXPECT_EQ(result_of(machine.run(stranger)), AccelResult::bad_pasid);
}

TEST_F(Pasid, MoreProcessesThanContexts) {
    constexpr std::uint32_t processes = mmu::ShadowTable::most_contexts + 20;
    AcceleratorProcess other(machine, 0, first_table + 8);
    process.map(place, first_data);
    other.map(place, first_data + 1);
    std::mt19937_64 random(3);
    for (std::uint32_t i = 0; i < 4 * processes; ++i) {
        const auto pasid = static_cast<std::uint32_t>(i < processes ? i : random() % processes);
        const std::uint64_t which = random() % 2;
        const Gfn root = which == 0 ? process.root() : other.root();
        set_pasid_entry(machine, pasid, {address_of(root).value() | present | (random() % 3 == 0 ? announces : 0), 0});
        ASSERT_EQ(seen(AcceleratorProcess(machine, pasid, root)), which) << i;
    }
}

TEST_F(Pasid, AResetForgetsEverything) {
    process.map(place, first_data);
    process.enter();
    EXPECT_EQ(run(process), AccelResult::done);
    machine.device().reset();
    for (const auto at :
         {AccelRegister::pasid_table_gpa, AccelRegister::request_queue_gpa, AccelRegister::request_response}) {
        EXPECT_EQ(machine.get(at), 0U);
    }
    EXPECT_EQ(machine.processes().shadow_pages(), 0U);
    EXPECT_EQ(machine.processes().watched_tables(), 0U);
    EXPECT_EQ(open_contexts(), 0U);
    for (const mmu::ContextId id : others) machine.processes().close_context(id);
    enable_processes(machine, RequestQueue::none);
    EXPECT_EQ(seen(process), 0U);
    machine.device().stop();
    EXPECT_EQ(machine.processes().inconsistency(), "");
    EXPECT_EQ(machine.processes().shadow_pages(), 0U);
}

#if defined(PENUMBRA_TEST_SWITCHES)

TEST_F(Pasid, AStaleRootIsNoticed) {
    const mmu::PlantedShadowBug bug(mmu::ShadowBug::stale_root_reuse);
    EXPECT_FALSE(sees_changes_behind_a_root(machine, process));
}

#endif

}  // namespace
}  // namespace penumbra::test
