// Rings that make no sense: the queue stops, the driver is told, a reset mends it, and nothing else happens.
#include <gtest/gtest.h>

#include <functional>

#include "tests/support/echo_machine.hpp"

namespace penumbra::test {
namespace {

constexpr Gpa buffers = EchoMachine::buffers;
constexpr Gpa rings = EchoMachine::rings;
constexpr std::uint64_t hole = FakeDmaMachine::hole.value() << page_shift;
constexpr std::uint64_t top = ~std::uint64_t{0};

using Descriptor = DriverQueue::Descriptor;
constexpr std::uint16_t next = DriverQueue::flag_next;
constexpr std::uint16_t write = DriverQueue::flag_write;
constexpr std::uint16_t indirect = DriverQueue::flag_indirect;

struct Broken {
    const char* name;
    const char* why;  ///< part of the complaint
    std::uint64_t features;
    std::function<void(VirtioDriver&)> act;
};

constexpr std::uint64_t any = VirtioDriver::all_features;

/// One chain whose head is descriptor 0.
std::function<void(VirtioDriver&)> chain(std::vector<Descriptor> descriptors, std::vector<Descriptor> table = {}) {
    return [=](VirtioDriver& driver) {
        for (std::uint16_t i = 0; i < descriptors.size(); ++i) driver.queue(0).put_descriptor(i, descriptors[i]);
        for (std::size_t i = 0; i < table.size(); ++i) driver.memory().put(buffers + 16 * i, table[i]);
        driver.queue(0).push_head(0);
        (void)driver.queue(0).publish();
    };
}

const std::uint64_t ram = buffers.value();

const std::vector<Broken>& cases() {
    static const std::vector<Broken> all{
        {"IndexRanAhead", "more chains are available", any,
         [](VirtioDriver& driver) { driver.queue(0).set_available_index(17); }},
        {"IndexRanBack", "more chains are available", any,
         [](VirtioDriver& driver) { driver.queue(0).set_available_index(0xFFFF); }},
        {"HeadOutOfRange", "head lies outside", any,
         [](VirtioDriver& driver) {
             driver.queue(0).push_head(16);
             (void)driver.queue(0).publish();
         }},
        {"AvailableTwice", "available twice", any,
         [](VirtioDriver& driver) {
             // Its table's page does not come, so that it is still with the device.
             driver.queue(0).put_descriptor(0, {ram, 16, indirect, 0});
             driver.queue(0).push_head(0);
             driver.queue(0).push_head(0);
             (void)driver.queue(0).publish();
         }},
        {"NextOutOfRange", "successor lies outside", any, chain({{ram, 8, next, 16}})},
        {"Circle", "circle", any, chain({{ram, 8, next, 1}, {ram, 8, next, 0}})},
        {"ZeroLength", "without bytes", any, chain({{ram, 0, 0, 0}})},
        {"BeyondAddresses", "beyond all addresses", any, chain({{top - 7, 16, 0, 0}})},
        {"ReadableAfterWritable", "readable descriptor after", any,
         chain({{ram, 8, static_cast<std::uint16_t>(next | write), 1}, {ram, 8, 0, 0}})},
        {"TooLong", "2^32", any, chain({{ram, 0x8000'0000, next, 1}, {ram, 0x8000'0000, next, 2}, {ram, 1, 0, 0}})},
        {"IndirectNotNegotiated", "not negotiated", vmm::virtio_feature::event_idx, chain({{ram, 16, indirect, 0}})},
        {"IndirectWithNext", "with a successor", any,
         chain({{ram, 16, static_cast<std::uint16_t>(indirect | next), 1}})},
        {"IndirectLength", "multiple", any, chain({{ram, 24, indirect, 0}})},
        {"IndirectEmpty", "multiple", any, chain({{ram, 0, indirect, 0}})},
        {"IndirectBeyondAddresses", "beyond all addresses", any, chain({{top - 7, 16, indirect, 0}})},
        {"IndirectNotRam", "outside of RAM", any, chain({{hole, 16, indirect, 0}})},
        {"IndirectNested", "inside an indirect", any, chain({{ram, 16, indirect, 0}}, {{ram, 16, indirect, 0}})},
        {"IndirectNextOutOfRange", "successor lies outside", any, chain({{ram, 16, indirect, 0}}, {{ram, 8, next, 1}})},
        {"TooManySegments", "too many", any,
         [](VirtioDriver& driver) {
             for (std::uint16_t i = 0; i < 1030; ++i) {
                 driver.memory().put(buffers + 16 * std::uint64_t{i},
                                     Descriptor{ram, 1, next, static_cast<std::uint16_t>(i + 1)});
             }
             driver.queue(0).put_descriptor(0, {ram, 16 * 1030, indirect, 0});
             driver.queue(0).push_head(0);
             (void)driver.queue(0).publish();
         }},
        {"BufferNotRam", "buffer lies outside", any, chain({{hole, 8, next, 1}, {ram, 8, write, 0}})},
    };
    return all;
}

class VirtqueueBroken : public testing::TestWithParam<std::size_t> {
protected:
    EchoMachine machine_{Over::mmio};
    VirtioDriver& driver_ = machine_.driver();
};
INSTANTIATE_TEST_SUITE_P(Rings, VirtqueueBroken, testing::Range(std::size_t{0}, cases().size()),
                         [](const auto& which) { return cases()[which.param].name; });

TEST_P(VirtqueueBroken, StopsTheQueueUntilReset) {
    const Broken& broken = cases()[GetParam()];
    ASSERT_TRUE(driver_.start(rings, 16, broken.features));
    machine_.machine().evict_all();
    broken.act(driver_);
    driver_.registers().notify(0);
    ASSERT_TRUE(becomes_true([&] { return (driver_.registers().status() & vmm::virtio_status::needs_reset) != 0; }));
    machine_.sync();
    EXPECT_NE(driver_.registers().take_isr() & vmm::virtio_isr::config, 0);
    EXPECT_EQ(machine_.device().queue_counters(0).broken.get(), 1U);
    EXPECT_EQ(machine_.device().queue_counters(0).completed.get(), 0U);
    ASSERT_EQ(machine_.device().trouble().size(), 1U);
    EXPECT_NE(machine_.device().trouble().front().find(broken.why), std::string::npos)
        << machine_.device().trouble().front();

    // The other queue still works, and after a reset this one does.
    (void)driver_.submit(1, {device_reads(buffers, 8), device_writes(buffers + 64, 8)});
    EXPECT_TRUE(driver_.wait(1));
    ASSERT_TRUE(driver_.start(rings, 16));
    EXPECT_EQ(driver_.registers().status() & vmm::virtio_status::needs_reset, 0);
    (void)driver_.submit(0, {device_reads(buffers, 8), device_writes(buffers + 64, 8)});
    EXPECT_TRUE(driver_.wait(0));
}

/// Queues that cannot be where the driver says they are.
class VirtqueueMisplaced : public testing::TestWithParam<RingPlace> {
protected:
    EchoMachine machine_{Over::pci};
    VirtioDriver& driver_ = machine_.driver();
};
INSTANTIATE_TEST_SUITE_P(Places, VirtqueueMisplaced,
                         testing::Values(RingPlace{16, rings + 8, rings + page_bytes, rings + 2 * page_bytes},
                                         RingPlace{16, rings, rings + page_bytes + 1, rings + 2 * page_bytes},
                                         RingPlace{16, rings, rings + page_bytes, rings + 2 * page_bytes + 2},
                                         RingPlace{0, rings, rings + page_bytes, rings + 2 * page_bytes},
                                         RingPlace{15, rings, rings + page_bytes, rings + 2 * page_bytes},
                                         RingPlace{512, rings, rings + page_bytes, rings + 2 * page_bytes},
                                         RingPlace{16, Gpa{top & ~0xFULL}, rings + page_bytes, rings + 2 * page_bytes},
                                         RingPlace{16, rings, Gpa{top & ~0xFULL}, rings + 2 * page_bytes},
                                         RingPlace{16, rings, rings + page_bytes, Gpa{top & ~0xFULL}},
                                         RingPlace{16, rings, Gpa{hole}, rings + 2 * page_bytes},
                                         RingPlace{16, rings, rings + page_bytes, Gpa{hole}},
                                         RingPlace{16, Gpa{hole}, rings + page_bytes, rings + 2 * page_bytes}));

TEST_P(VirtqueueMisplaced, AreRefused) {
    using namespace vmm::virtio_status;
    ASSERT_TRUE(driver_.negotiate());
    DriverQueue queue(machine_.memory(), DriverQueue::place_at(rings, 16), driver_.features());
    queue.push_head(0);
    queue.put_descriptor(0, {ram, 8, 0, 0});
    (void)queue.publish();
    driver_.registers().set_queue(0, GetParam());
    driver_.registers().set_status(acknowledge | driver | features_ok | driver_ok);
    EXPECT_TRUE(becomes_true([&] { return (driver_.registers().status() & needs_reset) != 0; }));
    EXPECT_TRUE(driver_.registers().reset());
}

TEST(VirtqueueTrouble, IsToldOfOnceInAWhile) {
    EchoMachine machine(Over::mmio);
    for (unsigned i = 0; i < 20; ++i) {
        ASSERT_TRUE(machine.driver().start(rings, 16));
        machine.driver().queue(0).push_head(99);
        machine.driver().kick(0);
        ASSERT_TRUE(
            becomes_true([&] { return (machine.registers().status() & vmm::virtio_status::needs_reset) != 0; }));
    }
    EXPECT_EQ(machine.device().trouble().size(), 1U);
    EXPECT_EQ(machine.device().queue_counters(0).broken.get(), 20U);
}

TEST(TroubleLog, CountsWhatItLeavesOut) {
    std::vector<std::string> said;
    vmm::TroubleLog log([&](std::string_view line) { said.emplace_back(line); });
    const std::chrono::steady_clock::time_point start{};
    log.complain("one", start);
    log.complain("two", start + std::chrono::seconds{1});
    log.complain("three", start + std::chrono::seconds{9});
    log.complain("four", start + std::chrono::seconds{11});
    log.complain("five", start + std::chrono::seconds{30});
    EXPECT_EQ(said,
              (std::vector<std::string>{"one", "four (2 more complaints before this one were left out)", "five"}));
    EXPECT_EQ(log.complaints(), 5U);
}

}  // namespace
}  // namespace penumbra::test
