// What a device sees of guest memory: present or not, and never a wait.
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <vector>

#include "tests/support/dma_loop.hpp"
#include "tests/support/fake_dma_machine.hpp"

namespace penumbra::test {
namespace {

using namespace std::chrono_literals;
using vmm::DmaClient;
using vmm::DmaGrant;
using vmm::DmaMiss;

constexpr Gfn low = FakeDmaMachine::low_first;
constexpr Gfn high = FakeDmaMachine::high_first;
constexpr std::uint64_t slot_bytes = FakeDmaMachine::slot_pages * page_bytes;

std::vector<std::byte> pattern(std::size_t bytes, unsigned seed) {
    std::vector<std::byte> made(bytes);
    for (std::size_t i = 0; i < bytes; ++i) made[i] = static_cast<std::byte>(i * 7 + i / 251 + seed);
    return made;
}

/// The loop does not run: the test's thread is the device's.
class DmaClientTest : public testing::Test {
protected:
    void bring_in(GfnRange range) {
        for (Gfn gfn = range.first(); gfn < range.end(); ++gfn) {
            machine_.read(address_of(gfn), std::as_writable_bytes(std::span{&sink_, 1}));
        }
    }

    FakeDmaMachine machine_;
    DmaLoop device_{machine_.service(), DmaLoop::Start::later};
    DmaClient& client_ = device_.client();
    char sink_ = 0;
};

TEST_F(DmaClientTest, SeesWhatIsInTheWindowAtOnce) {
    const auto bytes = pattern(3 * page_bytes, 1);
    const Gpa at = address_of(low) + 100;
    machine_.write(at, bytes);
    std::vector<std::byte> seen(bytes.size());
    ASSERT_TRUE(client_.read(at, seen)) << "no device has asked for these pages before";
    EXPECT_EQ(seen, bytes);
    const auto other = pattern(2 * page_bytes, 9);
    ASSERT_TRUE(client_.write(at + 50, other));
    seen.resize(other.size());
    machine_.read(at + 50, seen);
    EXPECT_EQ(seen, other);
}

TEST_F(DmaClientTest, AnAbsentPageIsNamedAndNothingIsDone) {
    bring_in({low, 2});
    bring_in({low + 3, 1});
    const auto bytes = pattern(4 * page_bytes, 3);
    const auto written = client_.write(address_of(low), bytes);
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error(), DmaMiss::absent);
    EXPECT_EQ(client_.missing(), low + 2);
    std::byte first{1};
    machine_.read(address_of(low), {&first, 1});
    EXPECT_EQ(first, std::byte{0}) << "a part was written";
}

TEST_F(DmaClientTest, WhatIsNotRamIsSaidToBe) {
    std::array<std::byte, 64> some{};
    const std::uint64_t top = ~std::uint64_t{0};
    for (const Gpa wrong : {address_of(FakeDmaMachine::hole), Gpa{0}, Gpa{top}, Gpa{top - 63}, Gpa{top - 62}}) {
        EXPECT_EQ(client_.read(wrong, some), std::unexpected{DmaMiss::not_ram}) << wrong.value();
        EXPECT_EQ(client_.write(wrong, some), std::unexpected{DmaMiss::not_ram}) << wrong.value();
        const auto held = client_.hold(wrong, top);
        ASSERT_FALSE(held);
        EXPECT_EQ(held.error(), DmaMiss::not_ram) << wrong.value();
    }
    bring_in({low + (FakeDmaMachine::slot_pages - 1), 1});
    EXPECT_EQ(client_.read(address_of(low) + (slot_bytes - 1), some), std::unexpected{DmaMiss::not_ram});
    EXPECT_TRUE(client_.read(address_of(low) + (slot_bytes - 64), some));
    EXPECT_EQ(client_.load16(Gpa{top}), std::unexpected{DmaMiss::not_ram});
    EXPECT_EQ(client_.load16(Gpa{top - 1}), std::unexpected{DmaMiss::not_ram});
}

TEST_F(DmaClientTest, NoBytesAreAlwaysThere) {
    EXPECT_TRUE(client_.read(Gpa{~std::uint64_t{0}}, {}));
    EXPECT_TRUE(client_.write(address_of(low), {}));
    const auto held = client_.hold(address_of(low), 0);
    ASSERT_TRUE(held);
    EXPECT_TRUE(held->bytes().empty());
}

TEST_F(DmaClientTest, SixteenBitsAreAligned) {
    bring_in({low, 1});
    const Gpa at = address_of(low) + 10;
    ASSERT_TRUE(client_.store16(at, 0x1234));
    EXPECT_EQ(client_.load16(at), 0x1234);
    EXPECT_EQ(client_.load16(at + 1), std::unexpected{DmaMiss::not_ram});
    EXPECT_EQ(client_.store16(at + 1, 1), std::unexpected{DmaMiss::not_ram});
    EXPECT_EQ(client_.load16(address_of(high)), std::unexpected{DmaMiss::absent});
    EXPECT_EQ(client_.missing(), high);
}

TEST_F(DmaClientTest, AHoldCoversWhatIsThere) {
    bring_in({low + 4, 3});
    const Gpa at = address_of(low + 4) + 1000;
    {
        const auto held = client_.hold(at, 100 * page_bytes);
        ASSERT_TRUE(held);
        EXPECT_EQ(held->bytes().data(), pointer_to(machine_.host(low + 4)) + 1000);
        EXPECT_EQ(held->bytes().size(), 3 * page_bytes - 1000);
        EXPECT_EQ(client_.hold(at, 10)->bytes().size(), 10U);
        EXPECT_EQ(client_.hold(at, page_bytes - 1000)->bytes().size(), page_bytes - 1000);
        EXPECT_FALSE(machine_.evict({low + 6, 1}, bridge::Blockable::no));
        EXPECT_EQ(machine_.table().pages_held_longer_than(0ns), 3U);
    }
    EXPECT_EQ(machine_.evict({low + 4, 3}, bridge::Blockable::no), 3U);
    EXPECT_EQ(client_.hold(at, 1).error(), DmaMiss::absent);
    EXPECT_EQ(client_.missing(), low + 4);
}

TEST_F(DmaClientTest, AnOpenInvalidationIsAnAbsentPageNotAWait) {
    bring_in({low, 8});
    ASSERT_TRUE(client_.hold(address_of(low), 1));
    bridge::InvalidationEvent event;
    event.reason = bridge::Reason::discard;
    event.ranges.add(HvpRange{machine_.host(low), 1});
    const auto begin = std::chrono::steady_clock::now();
    {
        const bridge::Invalidation open(machine_.space(), std::move(event));
        std::byte byte{};
        EXPECT_EQ(client_.read(address_of(low), {&byte, 1}), std::unexpected{DmaMiss::absent});
        EXPECT_EQ(client_.read(address_of(low + 5), {&byte, 1}), std::unexpected{DmaMiss::absent})
            << "a neighbour that is in the window, and held off";
    }
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
}

}  // namespace
}  // namespace penumbra::test
