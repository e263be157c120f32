// Virtqueues under an honest driver: every chain comes back once, whatever pages leave, and no interrupt is lost.
#include <gtest/gtest.h>

#include <random>

#include "base/thread.hpp"
#include "tests/support/echo_machine.hpp"

namespace penumbra::test {
namespace {

namespace feature = vmm::virtio_feature;

constexpr Gpa buffers = EchoMachine::buffers;
constexpr Gpa rings = EchoMachine::rings;

/// By the features of the rings.
class VirtqueueFeatures : public testing::TestWithParam<std::uint64_t> {
protected:
    EchoMachine machine_{Over::mmio};
    VirtioDriver& driver_ = machine_.driver();
};
INSTANTIATE_TEST_SUITE_P(Rings, VirtqueueFeatures,
                         testing::Values(std::uint64_t{0}, feature::event_idx,
                                         feature::event_idx | feature::indirect_desc));

TEST_P(VirtqueueFeatures, ChainsComeBackWithTheirBytes) {
    ASSERT_TRUE(driver_.start(rings, 16, GetParam()));
    const auto bytes = random_bytes(3 * page_bytes, 1);
    machine_.memory().write(buffers + 100, bytes);
    const Gpa answer = buffers + 8 * page_bytes + 7;
    const std::array chain{device_reads(buffers + 100, 5000),
                           device_reads(buffers + 100 + 5000, static_cast<std::uint32_t>(bytes.size() - 5000)),
                           device_writes(answer, 1), device_writes(answer + 1, 20'000)};
    for (unsigned i = 0; i < 50; ++i) {
        const bool indirect = (driver_.features() & feature::indirect_desc) != 0;
        const Gpa table = buffers + 20 * page_bytes - 24;  // a descriptor crosses a page
        const auto head =
            indirect ? driver_.queue(0).add_indirect(chain, table) : driver_.queue(0).add(std::span(chain));
        ASSERT_TRUE(head);
        driver_.kick(0);
        const auto done = driver_.wait(0);
        ASSERT_TRUE(done);
        EXPECT_EQ(done->head, *head);
        EXPECT_EQ(done->written, bytes.size());
        EXPECT_EQ(bytes_of(machine_.memory(), answer, bytes.size()), bytes);
    }
    EXPECT_EQ(machine_.device().trouble().size(), 0U);
}

TEST_P(VirtqueueFeatures, ABlockedDriverIsAlwaysWokenUp) {
    ASSERT_TRUE(driver_.start(rings, 8, GetParam()));
    std::mt19937_64 random(7);
    unsigned submitted = 0;
    unsigned back = 0;
    constexpr unsigned count = 3000;
    while (back < count) {
        const std::uint64_t seen = machine_.interrupts().total();
        while (submitted < count && random() % 4 != 0 &&
               driver_.queue(0).add({device_reads(buffers, 8), device_writes(buffers + 64, 8)})) {
            ++submitted;
        }
        driver_.kick(0);
        if (random() % 8 == 0) machine_.machine().evict_all();
        while (driver_.queue(0).take()) ++back;
        if (back == submitted) continue;
        if (driver_.queue(0).ask_for_interrupt()) continue;
        // Everything the driver knows of is taken: nothing but an interrupt wakes it up. The line may be high still
        // from before, which interrupts as well.
        if (machine_.registers().take_isr() == 0) {
            ASSERT_TRUE(machine_.interrupts().wait_beyond(seen)) << "an interrupt was lost";
        }
    }
}

TEST_P(VirtqueueFeatures, ADriverThatWantsNoInterruptsGetsNone) {
    ASSERT_TRUE(driver_.start(rings, 8, GetParam()));
    driver_.queue(0).refuse_interrupts();
    for (unsigned i = 0; i < 100; ++i) {
        (void)driver_.submit(0, {device_reads(buffers, 8), device_writes(buffers + 64, 8)});
        ASSERT_TRUE(driver_.wait(0));
    }
    machine_.sync();
    EXPECT_EQ(machine_.interrupts().total(), 0U);
    EXPECT_EQ(machine_.device().queue_counters(0).interrupts.get(), 0U);
}

TEST_P(VirtqueueFeatures, ABatchIsPublishedWithOneInterrupt) {
    ASSERT_TRUE(driver_.start(rings, 64, GetParam()));
    machine_.memory().write(buffers, random_bytes(page_bytes, 1));  // no page is waited for
    machine_.device().keep_chains();
    for (unsigned i = 0; i < 20; ++i) {
        ASSERT_TRUE(driver_.queue(0).add({device_reads(buffers, 8), device_writes(buffers + 64 * (i + 1), 8)}));
    }
    driver_.kick(0);
    ASSERT_TRUE(becomes_true([&] { return machine_.device().taken() == 20; }));
    machine_.device().echo_kept();
    for (unsigned i = 0; i < 20; ++i) ASSERT_TRUE(driver_.wait(0));
    machine_.sync();
    EXPECT_EQ(machine_.device().queue_counters(0).interrupts.get(), 1U);
}

/// Held pages: one page never comes until it is let go.
class VirtqueueHeldPage : public testing::Test {
protected:
    void hold(Gpa at) {
        auto& fake = machine_.machine();
        (void)fake.evict(GfnRange{frame_of(at), 1});
        fake.slow().hold(fake.host(frame_of(at)));
    }
    EchoMachine machine_{Over::mmio};
    VirtioDriver& driver_ = machine_.driver();
};

TEST_F(VirtqueueHeldPage, OfAnIndirectTableDelaysItsOwnChainOnly) {
    ASSERT_TRUE(driver_.start(rings, 16));
    const Gpa table = buffers + 10 * page_bytes;
    const std::array chain{device_reads(buffers, 8), device_writes(buffers + 64, 8)};
    const auto late = driver_.queue(0).add_indirect(chain, table);
    ASSERT_TRUE(late);
    hold(table);
    for (unsigned i = 0; i < 50; ++i) {
        const auto head = driver_.submit(0, {device_reads(buffers, 8), device_writes(buffers + 64, 8)});
        const auto done = driver_.wait(0);
        ASSERT_TRUE(done);
        EXPECT_EQ(done->head, head);
    }
    machine_.machine().slow().let_go();
    const auto done = driver_.wait(0);
    ASSERT_TRUE(done);
    EXPECT_EQ(done->head, *late);
}

TEST_F(VirtqueueHeldPage, OfABufferDelaysItsOwnChainOnly) {
    ASSERT_TRUE(driver_.start(rings, 16));
    const Gpa target = buffers + 10 * page_bytes;
    hold(target);
    const auto late = driver_.submit(0, {device_reads(buffers, 8), device_writes(target, 8)});
    for (unsigned i = 0; i < 50; ++i) {
        (void)driver_.submit(0, {device_reads(buffers, 8), device_writes(buffers + 64, 8)});
        ASSERT_TRUE(driver_.wait(0));
    }
    machine_.machine().slow().let_go();
    const auto done = driver_.wait(0);
    ASSERT_TRUE(done);
    EXPECT_EQ(done->head, late);
}

TEST_F(VirtqueueHeldPage, OfAQueueLeavesTheOtherQueueAlone) {
    ASSERT_TRUE(driver_.start(rings, 16));
    for (const Gpa page : {driver_.queue(0).place().available, driver_.queue(0).place().descriptors}) {
        ASSERT_TRUE(driver_.queue(0).add({device_reads(buffers, 8), device_writes(buffers + 64, 8)}));
        (void)driver_.queue(0).publish();
        hold(page);
        driver_.registers().notify(0);
        for (unsigned i = 0; i < 20; ++i) {
            (void)driver_.submit(1, {device_reads(buffers, 8), device_writes(buffers + 64, 8)});
            ASSERT_TRUE(driver_.wait(1));
        }
        machine_.machine().slow().let_go();
        ASSERT_TRUE(driver_.wait(0));
    }
}

TEST_F(VirtqueueHeldPage, OfTheUsedRingKeepsTheOrderOfCompletion) {
    ASSERT_TRUE(driver_.start(rings, 32));
    machine_.memory().write(buffers, random_bytes(page_bytes, 1));  // no other page is waited for
    machine_.device().keep_chains();
    std::vector<std::uint16_t> heads;
    for (unsigned i = 0; i < 10; ++i) {
        heads.push_back(driver_.submit(0, {device_reads(buffers, 8), device_writes(buffers + 64, 8)}));
    }
    ASSERT_TRUE(becomes_true([&] { return machine_.device().taken() == 10; }));
    hold(driver_.queue(0).place().used);
    machine_.device().echo_kept();
    ASSERT_TRUE(becomes_true([&] { return machine_.machine().slow().waiting() > 0; }));
    machine_.machine().slow().let_go();
    // The device echoes the newest first.
    for (auto head = heads.rbegin(); head != heads.rend(); ++head) {
        const auto done = driver_.wait(0);
        ASSERT_TRUE(done);
        EXPECT_EQ(done->head, *head);
    }
}

TEST_F(VirtqueueHeldPage, OfTheDriversWishForInterruptsInterruptsIt) {
    ASSERT_TRUE(driver_.start(rings, 32));
    machine_.memory().write(buffers, random_bytes(page_bytes, 1));  // no other page is waited for
    machine_.device().keep_chains();
    (void)driver_.submit(0, {device_reads(buffers, 8), device_writes(buffers + 64, 8)});
    ASSERT_TRUE(becomes_true([&] { return machine_.device().taken() == 1; }));
    hold(driver_.queue(0).place().available);
    machine_.device().echo_kept();
    EXPECT_TRUE(machine_.interrupts().wait_beyond(0))
        << "what the driver wants cannot be read: one too many is allowed";
}

TEST(Virtqueue, InOrderHoldsLaterChainsBack) {
    EchoMachine machine(Over::mmio, {.delivery = vmm::Delivery::in_order});
    VirtioDriver& driver = machine.driver();
    ASSERT_TRUE(driver.start(rings, 16));
    const Gpa table = buffers + 10 * page_bytes;
    const std::array chain{device_reads(buffers, 8), device_writes(buffers + 64, 8)};
    ASSERT_TRUE(driver.queue(0).add_indirect(chain, table));
    ASSERT_TRUE(driver.queue(0).add(std::span(chain)));
    ASSERT_TRUE(driver.queue(0).add(std::span(chain)));
    (void)machine.machine().evict(GfnRange{frame_of(table), 1});
    machine.machine().slow().hold(machine.machine().host(frame_of(table)));
    driver.kick(0);
    ASSERT_TRUE(becomes_true([&] { return machine.machine().slow().waiting() > 0; }));
    machine.sync();
    EXPECT_EQ(machine.device().taken(), 0U);
    machine.machine().slow().let_go();
    for (unsigned i = 0; i < 3; ++i) ASSERT_TRUE(driver.wait(0));
    EXPECT_EQ(machine.device().order(), (std::vector<std::uint64_t>{0, 1, 2}));
}

TEST(Virtqueue, ADriverThatNeverStopsLeavesTheLoopToOthers) {
    EchoMachine machine(Over::mmio, {.queue_size = 4});
    VirtioDriver& driver = machine.driver();
    ASSERT_TRUE(driver.start(rings, 4));
    std::atomic<bool> feeding{true};
    std::atomic<std::uint64_t> fed{0};
    Thread feeder("feeder", ThreadRole::vmm, [&] {
        while (feeding) {
            while (driver.queue(0).add({device_reads(buffers, 1), device_writes(buffers + 64, 1)})) {
            }
            driver.kick(0);
            while (driver.queue(0).take()) ++fed;
        }
    });
    for (unsigned i = 0; i < 50; ++i) machine.sync();
    EXPECT_TRUE(becomes_true([&] { return fed > 1000; }));
    feeding = false;
    feeder.join();
}

TEST(Virtqueue, IndicesRunOverTheirEnd) {
    EchoMachine machine(Over::mmio);
    VirtioDriver& driver = machine.driver();
    ASSERT_TRUE(driver.start(rings, 256));
    std::uint64_t back = 0;
    while (back < 70'000) {
        while (driver.queue(0).add({device_writes(buffers + 64, 1)})) {
        }
        driver.kick(0);
        ASSERT_TRUE(driver.wait(0));
        ++back;
        while (driver.queue(0).take()) ++back;
    }
    EXPECT_EQ(machine.device().trouble().size(), 0U);
}

}  // namespace
}  // namespace penumbra::test
