#include "vmm/devices/guest_port.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/thread.hpp"

namespace penumbra::vmm {
namespace {

/// Four pages at 0; the last cannot be read.
struct SmallMemory : GuestMemory {
    Result<> read(Gpa from, std::span<std::byte> to) override {
        EXPECT_EQ(highest_rank_held(), 0U) << "a lock is held while guest memory is read";
        ++reads;
        if (from.value() > readable || to.size() > readable - from.value()) return fail("read guest memory");
        std::memcpy(to.data(), bytes.data() + from.value(), to.size());
        return {};
    }
    Result<> write(Gpa, std::span<const std::byte>) override { return fail("write guest memory"); }
    template <class T>
    void put(std::uint64_t at, const T& value) {
        std::memcpy(bytes.data() + at, &value, sizeof(value));
    }
    void put_text(std::uint64_t at, std::uint64_t length, std::string_view text) {
        put(at, length);
        std::memcpy(bytes.data() + at + 8, text.data(), text.size());
    }
    static constexpr std::uint64_t readable = 3 * page_bytes;
    std::vector<std::byte> bytes = std::vector<std::byte>(4 * page_bytes);
    int reads = 0;
};

struct Listener : GuestPortListener {
    void guest_printed(std::string_view line) override { lines.emplace_back(line); }
    void guest_exited(std::uint64_t status) override { exits.push_back(status); }
    void guest_trapped(std::uint32_t cpu, std::uint64_t vector) override { traps.emplace_back(cpu, vector); }
    std::vector<std::string> lines;
    std::vector<std::uint64_t> exits;
    std::vector<std::pair<std::uint32_t, std::uint64_t>> traps;
};

struct Touches : TouchSource {
    std::optional<Touch> next(std::uint32_t cpu) override {
        asked_by.push_back(cpu);
        if (orders.empty()) return std::nullopt;
        const Touch touch = orders.front();
        orders.pop_front();
        return touch;
    }
    void touched(std::uint32_t cpu, std::uint64_t ticks) override { took.emplace_back(cpu, ticks); }
    std::deque<Touch> orders;
    std::vector<std::uint32_t> asked_by;
    std::vector<std::pair<std::uint32_t, std::uint64_t>> took;
};

class GuestPortTest : public testing::Test {
protected:
    std::uint64_t get(abi::Port port, std::uint32_t cpu = 0) {
        const ThreadRoleScope role(ThreadRole::vcpu, cpu);
        return port_.read(static_cast<std::uint64_t>(port), 8);
    }
    void put(abi::Port port, std::uint64_t value, std::uint32_t cpu = 0) {
        const ThreadRoleScope role(ThreadRole::vcpu, cpu);
        port_.write(static_cast<std::uint64_t>(port), 8, value);
    }
    SmallMemory memory_;
    Listener listener_;
    Touches touches_;
    GuestPort port_{memory_, listener_, &touches_};
};

TEST_F(GuestPortTest, PrintsOneTamedLine) {
    memory_.put_text(0x100, 6, "hello\n");
    put(abi::Port::console, 0x100);
    memory_.put_text(0x100, 10, std::string_view("\x1b[2J\na\0b\xC3\x84", 10));
    put(abi::Port::console, 0x100);
    memory_.put_text(0x100, 0, "");
    put(abi::Port::console, 0x100);
    memory_.put_text(page_bytes, 4088, std::string(4088, 'y'));
    put(abi::Port::console, page_bytes);
    ASSERT_EQ(listener_.lines.size(), 4U);
    EXPECT_EQ(listener_.lines[0], "hello");
    EXPECT_EQ(listener_.lines[1], "?[2J?a?b??");
    EXPECT_EQ(listener_.lines[2], "");
    EXPECT_EQ(listener_.lines[3].size(), 4088U);
    EXPECT_EQ(port_.refused(), 0U);
}

TEST_F(GuestPortTest, BadTextBlocksAreRefused) {
    memory_.put(0x100, ~std::uint64_t{0});                      // length overflows
    memory_.put(page_bytes, std::uint64_t{4089});               // too long
    memory_.put(page_bytes + 0x800, std::uint64_t{0x800 - 7});  // runs into the next page
    const std::uint64_t bad[] = {0x100,          page_bytes,        page_bytes + 0x800, page_bytes - 4,
                                 3 * page_bytes, ~std::uint64_t{0}, ~std::uint64_t{7}};
    for (const std::uint64_t gpa : bad) put(abi::Port::console, gpa);
    EXPECT_TRUE(listener_.lines.empty());
    EXPECT_EQ(port_.refused(), std::size(bad));
}

TEST_F(GuestPortTest, KeepsTheNewestGoodReport) {
    EXPECT_FALSE(port_.last_report());
    abi::Report report{};
    report.pages_total = 7;
    memory_.put(0x200, report);
    put(abi::Port::report, 0x200);
    for (const std::uint64_t gpa : {0x204UL, page_bytes - 8, 3 * page_bytes, ~7UL}) put(abi::Port::report, gpa);
    ASSERT_TRUE(port_.last_report());
    EXPECT_EQ(port_.last_report()->pages_total, 7U);
    EXPECT_EQ(port_.refused(), 4U);
}

TEST_F(GuestPortTest, TheRunEndsOnce) {
    put(abi::Port::exit, 3);
    put(abi::Port::exit, 0);
    put(abi::Port::trap, 14, 1);
    EXPECT_EQ(listener_.exits, std::vector<std::uint64_t>{3});
    EXPECT_TRUE(listener_.traps.empty());
}

TEST_F(GuestPortTest, TrapNamesItsVcpu) {
    put(abi::Port::trap, 14, 5);
    put(abi::Port::exit, 0);
    EXPECT_EQ(listener_.traps, (std::vector<std::pair<std::uint32_t, std::uint64_t>>{{5, 14}}));
    EXPECT_TRUE(listener_.exits.empty());
}

TEST_F(GuestPortTest, TouchOrdersAreKeptApartByVcpu) {
    touches_.orders = {{Gpa{0x5000}, abi::TouchKind::write}, {Gpa{0x6000}, abi::TouchKind::read}};
    EXPECT_EQ(get(abi::Port::next_touch, 0), 0x5000U);
    EXPECT_EQ(get(abi::Port::next_touch, 1), 0x6000U);
    EXPECT_EQ(get(abi::Port::touch_kind, 0), static_cast<std::uint64_t>(abi::TouchKind::write));
    EXPECT_EQ(get(abi::Port::touch_kind, 1), static_cast<std::uint64_t>(abi::TouchKind::read));
    put(abi::Port::touch_ticks, 99, 1);
    EXPECT_EQ(get(abi::Port::next_touch, 1), abi::no_more);
    EXPECT_EQ(touches_.took, (std::vector<std::pair<std::uint32_t, std::uint64_t>>{{1, 99}}));
    EXPECT_EQ(touches_.asked_by, (std::vector<std::uint32_t>{0, 1, 1}));
    GuestPort idle(memory_, listener_, nullptr);
    const ThreadRoleScope role(ThreadRole::vcpu, 0);
    EXPECT_EQ(idle.read(static_cast<std::uint64_t>(abi::Port::next_touch), 8), abi::no_more);
}

TEST_F(GuestPortTest, TellsNumberAndTime) {
    EXPECT_EQ(get(abi::Port::cpu_number, 9), 9U);
    EXPECT_EQ(get(abi::Port::finish_early), 0U);
    port_.ask_to_finish_early();
    EXPECT_EQ(get(abi::Port::finish_early), 1U);
}

TEST_F(GuestPortTest, OtherAccessesAreRefused) {
    EXPECT_EQ(port_.read(0x30, 4), Device::all_ones);
    EXPECT_EQ(port_.read(0x31, 8), Device::all_ones);
    EXPECT_EQ(port_.read(0x00, 8), Device::all_ones);
    EXPECT_EQ(port_.read(0xFF8, 8), Device::all_ones);
    port_.write(0x08, 4, 0);
    port_.write(0x30, 8, 0);
    port_.write(0xFF8, 8, 0);
    EXPECT_TRUE(listener_.exits.empty());
    EXPECT_EQ(port_.refused(), 7U);
    EXPECT_EQ(memory_.reads, 0);
}

}  // namespace
}  // namespace penumbra::vmm
