#include "vmm/devices/bus.hpp"

#include <gtest/gtest.h>

#include <array>
#include <utility>
#include <vector>

namespace penumbra::vmm {
namespace {

struct Recorder : Device {
    struct Write {
        std::uint64_t offset;
        unsigned bytes;
        std::uint64_t value;
        friend bool operator==(const Write&, const Write&) = default;
    };
    std::uint64_t read(std::uint64_t offset, unsigned bytes) override {
        reads.emplace_back(offset, bytes);
        return answer;
    }
    void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override {
        writes.push_back({offset, bytes, value});
    }
    std::uint64_t answer = 0x8877'6655'4433'2211;
    std::vector<std::pair<std::uint64_t, unsigned>> reads;
    std::vector<Write> writes;
};

template <class... B>
std::array<std::byte, sizeof...(B)> bytes(B... b) {
    return {static_cast<std::byte>(b)...};
}

TEST(Bus, AccessReachesItsDeviceAtItsOffset) {
    Recorder low;
    Recorder high;
    Bus bus;
    bus.add_mmio(Gpa{0x2000}, 0x1000, high);
    bus.add_mmio(Gpa{0x1000}, 0x1000, low);
    bus.seal();
    auto data = bytes(1, 2, 3, 4);
    bus.write_mmio(Gpa{0x1FFC}, data);
    bus.write_mmio(Gpa{0x2000}, data);
    EXPECT_EQ(low.writes, (std::vector<Recorder::Write>{{0xFFC, 4, 0x0403'0201}}));
    EXPECT_EQ(high.writes, (std::vector<Recorder::Write>{{0, 4, 0x0403'0201}}));
    bus.read_mmio(Gpa{0x2010}, data);
    EXPECT_EQ(data, bytes(0x11, 0x22, 0x33, 0x44));
    EXPECT_EQ(high.reads, (std::vector<std::pair<std::uint64_t, unsigned>>{{0x10, 4}}));
    EXPECT_EQ(bus.unknown_accesses(), 0U);
}

TEST(Bus, WhatNobodyHoldsEntirelyReadsAllOnesAndCounts) {
    Recorder device;
    Bus bus;
    bus.add_mmio(Gpa{0x1000}, 0x10, device);
    bus.seal();
    for (const std::uint64_t at :
         {std::uint64_t{0}, std::uint64_t{0xFFF}, std::uint64_t{0x100F}, std::uint64_t{0x1010}, ~std::uint64_t{0}}) {
        auto data = bytes(0, 0);
        bus.read_mmio(Gpa{at}, data);
        EXPECT_EQ(data, bytes(0xFF, 0xFF)) << at;
        bus.write_mmio(Gpa{at}, data);
    }
    EXPECT_TRUE(device.reads.empty() && device.writes.empty());
    EXPECT_EQ(bus.unknown_accesses(), 10U);
}

TEST(Bus, PortsAndAddressesAreApartAndStringsAreSplit) {
    Recorder device;
    Bus bus;
    bus.add_ports(0x3F8, 8, device);
    bus.seal();
    auto data = bytes(1, 2, 3, 4);
    bus.write_port(0x3FA, 2, data);
    EXPECT_EQ(device.writes, (std::vector<Recorder::Write>{{2, 2, 0x0201}, {2, 2, 0x0403}}));
    bus.read_port(0x3F8, 1, data);
    EXPECT_EQ(data, bytes(0x11, 0x11, 0x11, 0x11));
    EXPECT_EQ(device.reads.size(), 4U);
    bus.read_mmio(Gpa{0x3F8}, data);
    EXPECT_EQ(bus.unknown_accesses(), 1U);
}

TEST(BusDeathTest, OverlapsAndLateComersAreRefused) {
    Recorder device;
    Bus bus;
    bus.add_mmio(Gpa{0x1000}, 0x1000, device);
    bus.add_ports(0xFFFF, 1, device);
    EXPECT_DEATH(bus.add_mmio(Gpa{0x1FFF}, 1, device), "two devices");
    EXPECT_DEATH(bus.add_mmio(Gpa{0x0FFF}, 2, device), "two devices");
    EXPECT_DEATH(bus.add_mmio(Gpa{0x0}, 0x10000, device), "two devices");
    EXPECT_DEATH(bus.add_mmio(Gpa{0x5000}, 0, device), "at least one byte");
    EXPECT_DEATH(bus.add_mmio(Gpa{~std::uint64_t{0}}, 2, device), "overflows");
    EXPECT_DEATH(bus.add_ports(0xFFFF, 2, device), "0xFFFF");
    bus.seal();
    EXPECT_DEATH(bus.add_mmio(Gpa{0x5000}, 1, device), "before the guest starts");
}

}  // namespace
}  // namespace penumbra::vmm
