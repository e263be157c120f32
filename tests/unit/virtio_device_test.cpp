// The machine's pause, and how it meets resets.
#include <gtest/gtest.h>

#include <future>

#include "tests/support/echo_machine.hpp"

namespace penumbra::test {
namespace {

constexpr Gpa buffers = EchoMachine::buffers;
constexpr Gpa rings = EchoMachine::rings;

class VirtioPause : public testing::Test {
protected:
    void SetUp() override { ASSERT_TRUE(driver_.start(rings, 64)); }
    void pause() {
        std::promise<void> quiet;
        machine_.device().pause([&] { quiet.set_value(); });
        quiet.get_future().get();
    }
    std::uint16_t submit() {
        return driver_.submit(0, {device_reads(buffers, 8), device_writes(buffers + page_bytes, 8)});
    }

    EchoMachine machine_{Over::pci};
    VirtioDriver& driver_ = machine_.driver();
};

TEST_F(VirtioPause, NoChainIsTakenAndNoneIsLost) {
    for (unsigned round = 0; round < 20; ++round) {
        pause();
        const unsigned taken = machine_.device().taken();
        for (unsigned i = 0; i < 5; ++i) (void)submit();
        machine_.sync();
        EXPECT_EQ(machine_.device().taken(), taken);
        machine_.device().resume();
        for (unsigned i = 0; i < 5; ++i) ASSERT_TRUE(driver_.wait(0));
    }
    EXPECT_EQ(machine_.device().taken_at_a_wrong_time(), 0U);
}

TEST_F(VirtioPause, APageThatComesMeanwhileIsAskedForAgain) {
    auto& fake = machine_.machine();
    (void)fake.evict(GfnRange{frame_of(buffers), 1});
    fake.slow().hold(fake.host(frame_of(buffers)));
    (void)submit();
    ASSERT_TRUE(becomes_true([&] { return fake.slow().waiting() > 0; }));
    pause();
    fake.slow().let_go();
    ASSERT_TRUE(becomes_true([&] { return fake.service().pending() == 0; }));
    machine_.sync();
    EXPECT_FALSE(driver_.queue(0).take()) << "a paused device touches no guest memory";
    (void)fake.evict(GfnRange{frame_of(buffers), 1});
    machine_.device().resume();
    EXPECT_TRUE(driver_.wait(0));
}

TEST_F(VirtioPause, WaitsForIoInFlightAndOnlyForThat) {
    machine_.device().stay_busy();
    std::promise<void> quiet;
    machine_.device().pause([&] { quiet.set_value(); });
    auto answer = quiet.get_future();
    machine_.sync();
    EXPECT_EQ(answer.wait_for(std::chrono::seconds{0}), std::future_status::timeout);
    // Before the pause is complete: it counts once it is.
    machine_.device().resume();
    machine_.device().settle();
    answer.get();
    (void)submit();
    EXPECT_TRUE(driver_.wait(0));
}

TEST_F(VirtioPause, AResetMeanwhileIsDoneAndThePauseLasts) {
    machine_.device().keep_chains();
    (void)submit();
    ASSERT_TRUE(becomes_true([&] { return machine_.device().taken() == 1; }));
    pause();
    ASSERT_TRUE(driver_.registers().reset());
    EXPECT_EQ(machine_.device().forgets(), 1U);
    machine_.device().echo_kept();
    machine_.sync();
    ASSERT_TRUE(driver_.start(rings, 64));
    (void)submit();
    machine_.sync();
    EXPECT_EQ(machine_.device().taken(), 1U);
    machine_.device().resume();
    EXPECT_TRUE(driver_.wait(0));
    EXPECT_EQ(machine_.device().taken_at_a_wrong_time(), 0U);
}

TEST_F(VirtioPause, APauseDuringAResetComesAfterIt) {
    machine_.device().stay_busy();
    driver_.registers().set_status(0);
    std::promise<void> quiet;
    machine_.device().pause([&] { quiet.set_value(); });
    machine_.sync();
    machine_.device().settle();
    quiet.get_future().get();
    EXPECT_TRUE(becomes_true([&] { return driver_.registers().status() == 0; }));
    machine_.device().resume();
    ASSERT_TRUE(driver_.start(rings, 64));
    (void)submit();
    EXPECT_TRUE(driver_.wait(0));
}

TEST_F(VirtioPause, WhatWasCompletedComesBackEvenSo) {
    machine_.device().keep_chains();
    (void)submit();
    ASSERT_TRUE(becomes_true([&] { return machine_.device().taken() == 1; }));
    auto& fake = machine_.machine();
    const Gfn used = frame_of(driver_.queue(0).place().used);
    (void)fake.evict(GfnRange{used, 1});
    fake.slow().hold(fake.host(used));
    machine_.device().echo_kept();
    ASSERT_TRUE(becomes_true([&] { return fake.slow().waiting() > 0; }));
    pause();
    fake.slow().let_go();
    ASSERT_TRUE(becomes_true([&] { return fake.service().pending() == 0; }));
    machine_.device().resume();
    EXPECT_TRUE(driver_.wait(0));
}

TEST(VirtioConfig, ChecksTheGuestsOffsets) {
    vmm::VirtioConfig config({std::byte{1}, std::byte{2}, std::byte{3}}, {std::byte{0x0F}});
    EXPECT_EQ(config.read(0, 8), 0x0302'01U);
    EXPECT_EQ(config.read(2, 4), 3U);
    EXPECT_EQ(config.read(3, 1), 0U);
    EXPECT_EQ(config.read(~std::uint64_t{0}, 8), 0U);
    EXPECT_EQ(config.write(0, 4, 0xFFFF'FFFF), vmm::VirtioConfig::Written::something);
    EXPECT_EQ(config.read(0, 4), 0x0302'0FU);
    EXPECT_EQ(config.write(1, 1, 0xFF), vmm::VirtioConfig::Written::nothing);
    EXPECT_EQ(config.write(~std::uint64_t{0}, 8, 0xFF), vmm::VirtioConfig::Written::nothing);
    const std::uint32_t generation = config.generation();
    config.set(1, std::array{std::byte{9}});
    EXPECT_NE(config.generation(), generation);
    config.reset_writable();
    EXPECT_EQ(config.bytes(), (std::vector{std::byte{1}, std::byte{9}, std::byte{3}}));
}

}  // namespace
}  // namespace penumbra::test
