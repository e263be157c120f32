// Configuration space: what a guest reads and writes, and the ways to it.
#include <gtest/gtest.h>

#include <map>

#include "vmm/devices/pci/pci_bus.hpp"

namespace penumbra::test {
namespace {

using vmm::PciBus;
using vmm::PciConfig;
namespace pci = vmm::pci;

constexpr Gpa window{0xC000'0000};
constexpr std::uint64_t window_bytes = 0x1000'0000;
constexpr std::uint64_t ones = vmm::Device::all_ones;

/// Two BARs of memory; counts what moves.
class Function final : public vmm::PciFunction {
public:
    Function() : PciFunction({.vendor = 0x1234, .device = 0x5678, .revision = 9, .class_code = 0x01'0203}) {
        config().add_bar(0, 0x4000);
        config().add_bar(3, 0x1000);
    }
    void connect(vmm::Gsi gsi, std::uint32_t source) override {
        line = static_cast<std::uint32_t>(gsi);
        source_number = source;
    }
    void bar_moved(unsigned bar, std::optional<Gpa> at) override {
        ++moves;
        places[bar] = at;
    }
    void reset() override { ++resets; }
    [[nodiscard]] std::uint64_t read_bar(unsigned bar, std::uint64_t offset, unsigned size) override {
        return (std::uint64_t{bar} << 32) | (std::uint64_t{size} << 40) | offset;
    }
    void write_bar(unsigned bar, std::uint64_t offset, unsigned size, std::uint64_t value) override {
        last = {bar, offset, size, value};
    }

    std::uint32_t line = 0;
    std::uint32_t source_number = 0;
    unsigned moves = 0;
    unsigned resets = 0;
    std::map<unsigned, std::optional<Gpa>> places;
    std::vector<std::uint64_t> last;
};

class Pci : public testing::Test {
protected:
    Pci() {
        bus_.add(1, one_);
        bus_.add(6, six_);
        bus_.power_on();
    }
    [[nodiscard]] std::uint32_t read(unsigned slot, unsigned offset, unsigned bytes) {
        const std::uint64_t mask = (std::uint64_t{1} << (8 * bytes)) - 1;
        return static_cast<std::uint32_t>(bus_.ecam().read((std::uint64_t{slot} << 15) + offset, bytes) & mask);
    }
    void write(unsigned slot, unsigned offset, unsigned bytes, std::uint32_t value) {
        bus_.ecam().write((std::uint64_t{slot} << 15) + offset, bytes, value);
    }

    Function one_;
    Function six_;
    std::vector<int> resets_;
    PciBus bus_{PciBus::Window{window, window_bytes}, [this](std::uint8_t value) { resets_.push_back(value); }};
};

TEST_F(Pci, FunctionsAreFoundInTheirSlots) {
    EXPECT_EQ(read(0, 0, 4), 0x0008'1B36U);
    EXPECT_EQ(read(0, 8, 4), 0x0600'0000U);
    EXPECT_EQ(read(1, 0, 4), 0x5678'1234U);
    EXPECT_EQ(read(6, 8, 4), 0x0102'0309U);
    EXPECT_EQ(read(2, 0, 4), 0xFFFF'FFFFU);
    EXPECT_EQ(read(1, 0x1000, 4), 0xFFFF'FFFFU) << "another function of the slot";
    EXPECT_EQ(one_.line, 17U);
    EXPECT_EQ(six_.line, 18U);
    EXPECT_EQ(read(6, pci::interrupt_line, 1), 18U);
    EXPECT_EQ(six_.source_number, 6U);
}

TEST_F(Pci, AccessesAreOfTheAllowedKinds) {
    EXPECT_EQ(read(1, 2, 2), 0x5678U);
    EXPECT_EQ(read(1, 1, 1), 0x12U);
    EXPECT_EQ(bus_.ecam().read((1ULL << 15) + 1, 2), 0xFFFF'FFFFU) << "not aligned";
    EXPECT_EQ(bus_.ecam().read(1ULL << 15, 8), ones) << "too wide";
    EXPECT_EQ(bus_.ecam().read(1ULL << 15, 3), 0xFFFF'FFFFU);
    EXPECT_EQ(read(1, 0x100, 4), 0U) << "no extended capabilities";
    EXPECT_EQ(read(1, 0xFFC, 4), 0U);
    EXPECT_EQ(read(2, 0x100, 4), 0xFFFF'FFFFU);
    write(1, 0x100, 4, 7);
    write(1, 0, 4, 0);
    write(1, 5, 2, 0xFFFF);
    bus_.ecam().write(1ULL << 15, 8, 0);
    EXPECT_EQ(read(1, 0, 4), 0x5678'1234U);
    EXPECT_EQ(read(1, 0x100, 4), 0U);
}

TEST_F(Pci, BarsArePlacedAndAnswer) {
    EXPECT_EQ(one_.places[0], window);
    EXPECT_EQ(one_.places[3], window + 0x4000);
    EXPECT_EQ(six_.places[0], window + 0x8000) << "naturally aligned";
    EXPECT_EQ(six_.places[3], window + 0xC000);
    EXPECT_EQ(read(1, 0x10, 4), 0xC000'0000U);
    EXPECT_EQ(read(1, 0x14, 4), 0U) << "no such BAR";
    EXPECT_EQ(bus_.window().read(0x8000 + 20, 4), (4ULL << 40) | 20);
    EXPECT_EQ(bus_.window().read(0x4FFC, 4), (3ULL << 32) | (4ULL << 40) | 0xFFC);
    EXPECT_EQ(bus_.window().read(0x4FFC, 8), ones) << "beyond its end";
    EXPECT_EQ(bus_.window().read(0x6000, 4), ones) << "nothing there";
    bus_.window().write(0xC008, 2, 77);
    EXPECT_EQ(six_.last, (std::vector<std::uint64_t>{3, 8, 2, 77}));
}

TEST_F(Pci, BarsTellTheirSizeAndMove) {
    write(1, pci::command, 2, 0);
    EXPECT_EQ(one_.places[0], std::nullopt);
    EXPECT_EQ(bus_.window().read(20, 4), ones);
    write(1, 0x10, 4, 0xFFFF'FFFF);
    EXPECT_EQ(read(1, 0x10, 4), 0xFFFF'C000U);
    write(1, 0x14, 4, 0xFFFF'FFFF);
    EXPECT_EQ(read(1, 0x14, 4), 0U);
    write(1, 0x30, 4, 0xFFFF'FFFF);
    EXPECT_EQ(read(1, 0x30, 4), 0U) << "no ROM";
    write(1, 0x10, 4, 0xC800'0000);
    write(1, pci::command, 2, pci::command_memory);
    EXPECT_EQ(one_.places[0], Gpa{0xC800'0000});
    EXPECT_EQ(bus_.window().read(0x800'0010, 4), (4ULL << 40) | 16);
    EXPECT_EQ(bus_.window().read(20, 4), ones) << "no longer there";
    const unsigned moves = one_.moves;
    write(1, pci::interrupt_line, 1, 3);
    write(1, pci::command, 2, pci::command_memory | pci::command_master);
    EXPECT_EQ(one_.moves, moves) << "nothing moved";
}

TEST_F(Pci, ABarOutsideOfTheWindowDoesNotAnswer) {
    for (const std::uint32_t place : {0U, 0xBFFF'C000U, 0xD000'0000U, 0xFFFF'C000U}) {
        write(1, 0x10, 4, place);
        EXPECT_EQ(one_.places[0], std::nullopt) << std::hex << place;
    }
    write(1, 0x10, 4, 0xCFFF'C000);
    EXPECT_EQ(one_.places[0], Gpa{0xCFFF'C000});
    EXPECT_EQ(bus_.window().read(window_bytes - 8, 8), (8ULL << 40) | 0x3FF8);
}

TEST_F(Pci, OverlappingBarsAnswerByTheirSlots) {
    write(6, 0x10, 4, 0xC000'0000);
    EXPECT_EQ(six_.places[0], window);
    bus_.window().write(8, 4, 1);
    EXPECT_EQ(one_.last.size(), 4U);
    EXPECT_TRUE(six_.last.empty());
    write(1, pci::command, 2, 0);
    bus_.window().write(8, 4, 1);
    EXPECT_EQ(six_.last.size(), 4U);
    // And back: the order is by slot, not by time.
    write(1, pci::command, 2, pci::command_memory);
    six_.last.clear();
    bus_.window().write(8, 4, 1);
    EXPECT_TRUE(six_.last.empty());
}

TEST_F(Pci, PowerOnPutsEverythingBack) {
    write(1, 0x10, 4, 0xC800'0000);
    write(6, pci::command, 2, 0);
    write(6, pci::interrupt_line, 1, 0xFF);
    bus_.power_on();
    EXPECT_EQ(one_.resets, 2U);
    EXPECT_EQ(one_.places[0], window);
    EXPECT_EQ(six_.places[0], window + 0x8000);
    EXPECT_EQ(read(6, pci::interrupt_line, 1), 18U);
    EXPECT_EQ(read(6, pci::command, 2), pci::command_memory);
    EXPECT_EQ(read(0, pci::command, 2), 0U);
}

TEST_F(Pci, PortsReachTheSame) {
    vmm::Device& ports = bus_.config_ports();
    EXPECT_EQ(ports.read(4, 4), ones) << "not enabled";
    ports.write(0, 4, 0x8000'0800);
    EXPECT_EQ(ports.read(0, 4), 0x8000'0800U);
    EXPECT_EQ(ports.read(4, 4), 0x5678'1234U);
    EXPECT_EQ(ports.read(6, 2), 0x5678U);
    EXPECT_EQ(ports.read(7, 1), 0x56U);
    ports.write(0, 4, 0x8000'083F);
    EXPECT_EQ(ports.read(0, 4), 0x8000'083CU);
    ports.write(4, 1, 0x0B);
    EXPECT_EQ(read(1, pci::interrupt_line, 1), 0x0BU);
    for (const std::uint32_t elsewhere : {0x0000'0800U, 0x8001'0800U, 0x8000'0900U, 0x8000'1000U}) {
        ports.write(0, 4, elsewhere);
        EXPECT_EQ(ports.read(4, 4) & 0xFFFF'FFFF, 0xFFFF'FFFFU) << std::hex << elsewhere;
        ports.write(4, 4, 0);
    }
    ports.write(0, 4, 0x8000'0800);
    EXPECT_EQ(ports.read(6, 4), ones) << "across the end";
    ports.write(6, 4, 0);
    EXPECT_EQ(ports.read(0, 2), ones);
    ports.write(0, 2, 0);
    EXPECT_EQ(ports.read(0, 4), 0x8000'0800U);
}

TEST_F(Pci, TheResetPortIsNotTheBuss) {
    vmm::Device& ports = bus_.config_ports();
    ports.write(0, 4, 0x8000'0800);
    ports.write(1, 1, 6);
    EXPECT_EQ(resets_, std::vector<int>{6});
    EXPECT_EQ(ports.read(0, 4), 0x8000'0800U);
    ports.write(1, 2, 6);
    EXPECT_EQ(resets_.size(), 1U);
    PciBus without({window, window_bytes}, nullptr);
    without.config_ports().write(1, 1, 6);
}

TEST(PciConfigSpace, ChainsCapabilities) {
    PciConfig config({.vendor = 1, .device = 2});
    EXPECT_EQ(config.read(pci::status, 2), 0U);
    const unsigned first = config.add_capability(0x09, 18);
    const unsigned second = config.add_capability(0x11, 12);
    EXPECT_EQ(first, 0x40U);
    EXPECT_EQ(second, 0x54U) << "at a multiple of 4";
    EXPECT_EQ(config.read(pci::status, 2), pci::status_capabilities);
    EXPECT_EQ(config.read(pci::capability_pointer, 1), first);
    EXPECT_EQ(config.read(first, 2), 0x5409U);
    EXPECT_EQ(config.read(second, 2), 0x0011U);
}

}  // namespace
}  // namespace penumbra::test
