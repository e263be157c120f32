// Instructions that the VMM finishes in KVM's stead: decoding, meaning, and hostile page tables.
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstring>
#include <initializer_list>
#include <vector>

#include "vmm/kvm/assist/execute.hpp"

namespace penumbra::vmm {
namespace {

/// 64 KiB of RAM; page tables at 0x1000 map [0, 2 MiB) and the same again at the top of the address space.
class FlatMemory final : public GuestMemory {
public:
    FlatMemory() {
        put(0x1000, 0x2000 | table_bits);
        put(0x1000 + 511 * 8, 0x2000 | table_bits);
        put(0x2000, 0x3000 | table_bits);
        put(0x2000 + 511 * 8, 0x3000 | table_bits);
        put(0x3000, 0x4000 | table_bits);
        put(0x3000 + 511 * 8, 0x4000 | table_bits);
        for (std::uint64_t i = 0; i < 16; ++i) put(0x4000 + i * 8, (i << 12) | leaf_bits);
    }
    Result<> read(Gpa from, std::span<std::byte> to) override {
        if (from.value() + to.size() > bytes_.size()) return fail("read", "past RAM");
        std::memcpy(to.data(), bytes_.data() + from.value(), to.size());
        return {};
    }
    Result<> write(Gpa to, std::span<const std::byte> from) override {
        if (to.value() + from.size() > bytes_.size()) return fail("write", "past RAM");
        std::memcpy(bytes_.data() + to.value(), from.data(), from.size());
        return {};
    }
    template <class T>
    void put(std::uint64_t at, T value) {
        std::memcpy(bytes_.data() + at, &value, sizeof(value));
    }
    template <class T>
    T get(std::uint64_t at) const {
        T value{};
        std::memcpy(&value, bytes_.data() + at, sizeof(value));
        return value;
    }

    static constexpr std::uint64_t table_bits = 0x23, leaf_bits = 0x63;  // present, writable, accessed (and dirty)

private:
    std::vector<std::byte> bytes_ = std::vector<std::byte>(64 << 10);
};

std::optional<Instruction> decode_bytes(std::initializer_list<unsigned> bytes) {
    std::vector<std::byte> code;
    for (const unsigned byte : bytes) code.push_back(static_cast<std::byte>(byte));
    return decode(code);
}

class AssistTest : public testing::Test {
protected:
    AssistTest() {
        cpu_.general.rip = 0x8000;
        cpu_.system.cr0 = 0x8001'0001;
        cpu_.system.cr3 = 0x1000;
        cpu_.system.cr4 = 0x620;  // PAE, OSFXSR, OSXMMEXCPT
        cpu_.floating.mxcsr = 0x1F80;
    }
    ExecuteOutcome run(std::initializer_list<unsigned> bytes) {
        const std::optional<Instruction> instruction = decode_bytes(bytes);
        EXPECT_TRUE(instruction.has_value());
        return instruction ? execute(*instruction, cpu_, memory_) : CannotFinish{};
    }
    void expect_done(std::initializer_list<unsigned> bytes) {
        const std::uint64_t before = cpu_.general.rip;
        EXPECT_TRUE(std::holds_alternative<Executed>(run(bytes)));
        EXPECT_EQ(cpu_.general.rip, before + bytes.size());
    }
    void expect_exception(std::initializer_list<unsigned> bytes, std::uint8_t vector) {
        const ExecuteOutcome outcome = run(bytes);
        const auto* exception = std::get_if<GuestException>(&outcome);
        ASSERT_NE(exception, nullptr);
        EXPECT_EQ(exception->vector, vector);
    }

    FlatMemory memory_;
    CpuImage cpu_;
};

TEST_F(AssistTest, Int3IsATrapAndLeavesRipBehindIt) {
    expect_exception({0xCC}, GuestException::breakpoint);
    EXPECT_EQ(cpu_.general.rip, 0x8001U);
}

TEST_F(AssistTest, ClacAndStacChangeOneFlag) {
    expect_done({0x0F, 0x01, 0xCB});
    EXPECT_EQ(cpu_.general.rflags, 2U | 1U << 18);
    expect_done({0x0F, 0x01, 0xCA});
    EXPECT_EQ(cpu_.general.rflags, 2U);
}

TEST_F(AssistTest, FwaitRaisesWhatThe87HasPending) {
    expect_done({0x9B});
    cpu_.floating.status = 0x80;
    expect_exception({0x9B}, GuestException::x87);
    cpu_.system.cr0 |= 0xA;
    expect_exception({0x9B}, GuestException::no_device);
}

TEST_F(AssistTest, MxcsrGoesThroughEveryKindOfAddress) {
    memory_.put(0x5010, std::uint32_t{0x1FA0});
    cpu_.general.rbx = 0x5000;
    expect_done({0x0F, 0xAE, 0x53, 0x10});  // ldmxcsr 0x10(%rbx)
    EXPECT_EQ(cpu_.floating.mxcsr, 0x1FA0U);
    cpu_.general.r13 = 0x5000;
    cpu_.general.r9 = 0x10;
    expect_done({0x43, 0x0F, 0xAE, 0x5C, 0x8D, 0xF8});  // stmxcsr -8(%r13,%r9,4)
    EXPECT_EQ(memory_.get<std::uint32_t>(0x5038), 0x1FA0U);
    memory_.put(0x6000, std::uint32_t{0x1F81});
    const auto distance = static_cast<std::uint32_t>(0x6000 - (cpu_.general.rip + 7));
    expect_done({0x0F, 0xAE, 0x15, distance & 0xFF, distance >> 8 & 0xFF, distance >> 16 & 0xFF, distance >> 24});
    EXPECT_EQ(cpu_.floating.mxcsr, 0x1F81U);
    cpu_.system.gs.base = 0x6000 - 0x20;
    memory_.put(0x6000, std::uint32_t{0x1F80});
    expect_done({0x65, 0x0F, 0xAE, 0x14, 0x25, 0x20, 0, 0, 0});  // ldmxcsr %gs:0x20
    EXPECT_EQ(cpu_.floating.mxcsr, 0x1F80U);
}

TEST_F(AssistTest, MxcsrReachesAKernelsHalfAndCrossesPages) {
    memory_.put(0x5FFE, std::uint32_t{0x1F90});
    cpu_.general.rax = 0xFFFF'FFFF'FFE0'0000 + 0x5FFE;
    expect_done({0x0F, 0xAE, 0x10});
    EXPECT_EQ(cpu_.floating.mxcsr, 0x1F90U);
}

TEST_F(AssistTest, MxcsrRefusesWhatTheProcessorRefuses) {
    cpu_.general.rax = 0x5000;
    memory_.put(0x5000, std::uint32_t{0x1'0000});
    expect_exception({0x0F, 0xAE, 0x10}, GuestException::protection);
    cpu_.general.rax = 0x8000'0000'0000;
    expect_exception({0x0F, 0xAE, 0x10}, GuestException::protection);
    cpu_.system.cr0 |= 8;
    expect_exception({0x0F, 0xAE, 0x10}, GuestException::no_device);
    cpu_.system.cr4 = 0x20;
    expect_exception({0x0F, 0xAE, 0x10}, GuestException::undefined);
    EXPECT_EQ(cpu_.general.rip, 0x8000U);
    EXPECT_EQ(cpu_.floating.mxcsr, 0x1F80U);
}

TEST_F(AssistTest, PageFaultsAreTheGuestsOwn) {
    cpu_.general.rax = 0x10'0000;  // not mapped
    const ExecuteOutcome outcome = run({0x0F, 0xAE, 0x18});
    const auto* fault = std::get_if<GuestException>(&outcome);
    ASSERT_NE(fault, nullptr);
    EXPECT_EQ(fault->vector, GuestException::page);
    EXPECT_EQ(fault->error_code, 2U);  // a write to what is not present
    EXPECT_EQ(cpu_.system.cr2, 0x10'0000U);
}

TEST_F(AssistTest, AStoreThatFaultsOnItsSecondPageStoresNothing) {
    memory_.put(0x4000 + 6 * 8, std::uint64_t{0});
    cpu_.general.rax = 0x5FFE;
    memory_.put(0x5FFE, std::uint16_t{0x5555});
    expect_exception({0x0F, 0xAE, 0x18}, GuestException::page);
    EXPECT_EQ(cpu_.system.cr2, 0x6000U);
    EXPECT_EQ(memory_.get<std::uint16_t>(0x5FFE), 0x5555U);
}

TEST_F(AssistTest, WriteProtectedAndUsersPagesFault) {
    memory_.put(0x4000 + 5 * 8, std::uint64_t{0x5000 | 0x61});
    cpu_.general.rax = 0x5000;
    expect_exception({0x0F, 0xAE, 0x18}, GuestException::page);
    for (const std::uint64_t at : {0x1000U, 0x2000U, 0x3000U}) memory_.put(at, memory_.get<std::uint64_t>(at) | 4);
    memory_.put(0x4000 + 5 * 8, std::uint64_t{0x5000 | FlatMemory::leaf_bits | 4});
    cpu_.system.cr4 |= 1 << 21;
    expect_exception({0x0F, 0xAE, 0x18}, GuestException::page);
    cpu_.general.rflags |= 1 << 18;
    expect_done({0x0F, 0xAE, 0x18});
}

TEST_F(AssistTest, HostileTablesEndTheWalk) {
    cpu_.general.rax = 0x5000;
    for (const std::uint64_t bad : {std::uint64_t{0xF'FFFF'F000 | 0x63}, std::uint64_t{0x5000 | 0x03}}) {
        memory_.put(0x4000 + 5 * 8, bad);  // out of RAM; not yet accessed
        const CpuImage before = cpu_;
        EXPECT_TRUE(std::holds_alternative<CannotFinish>(run({0x0F, 0xAE, 0x18})));
        EXPECT_EQ(cpu_, before);
    }
    memory_.put(0x1000,
                std::uint64_t{0x1000 | FlatMemory::table_bits});  // the root is its own table: ends all the same
    cpu_.general.rax = 0x5000;
    expect_exception({0x0F, 0xAE, 0x10}, GuestException::page);  // its fifth entry is empty
    EXPECT_EQ(cpu_.system.cr2, 0x5000U);
}

TEST_F(AssistTest, CountsBitsAsTheProcessorDoes) {
    for (const std::uint64_t value : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{0x8000'0000},
                                      std::uint64_t{0x8000'0000'0000'0000}, std::uint64_t{0x1234'5678'9ABC'DEF0}}) {
        cpu_.general.rcx = value;
        const auto low = static_cast<std::uint32_t>(value);
        expect_done({0xF3, 0x48, 0x0F, 0xB8, 0xC1});
        EXPECT_EQ(cpu_.general.rax, static_cast<std::uint64_t>(std::popcount(value)));
        EXPECT_EQ((cpu_.general.rflags & 0x40) != 0, value == 0);
        expect_done({0xF3, 0x0F, 0xBD, 0xC1});
        EXPECT_EQ(cpu_.general.rax, static_cast<std::uint64_t>(std::countl_zero(low)));
        EXPECT_EQ((cpu_.general.rflags & 1) != 0, low == 0);
        expect_done({0xF3, 0x48, 0x0F, 0xBC, 0xC1});
        EXPECT_EQ(cpu_.general.rax, static_cast<std::uint64_t>(std::countr_zero(value)));
    }
    cpu_.general.rax = ~std::uint64_t{0};
    cpu_.general.rcx = 0xFFFF'0001;
    expect_done({0x66, 0xF3, 0x0F, 0xB8, 0xC1});
    EXPECT_EQ(cpu_.general.rax, 0xFFFF'FFFF'FFFF'0001U);  // 16 bits of the result, the rest stays
}

TEST_F(AssistTest, SegmentBasesNeedTheirControlBit) {
    expect_exception({0xF3, 0x48, 0x0F, 0xAE, 0xD8}, GuestException::undefined);
    cpu_.system.cr4 |= 1 << 16;
    cpu_.general.rax = 0xFFFF'8000'0000'0000;
    expect_done({0xF3, 0x48, 0x0F, 0xAE, 0xD8});  // wrgsbase %rax
    EXPECT_EQ(cpu_.system.gs.base, 0xFFFF'8000'0000'0000U);
    cpu_.general.rax = 0x8000'0000'0000;
    expect_exception({0xF3, 0x48, 0x0F, 0xAE, 0xD0}, GuestException::protection);
}

TEST_F(AssistTest, FencesAndWriteBacksOnlyPass) {
    expect_done({0x0F, 0xAE, 0xF0});
    expect_done({0x0F, 0x01, 0xE8});
    expect_done({0x66, 0x0F, 0xAE, 0x3F});
    expect_done({0x0F, 0xC7, 0xF0});
    EXPECT_EQ(cpu_.general.rflags & 1, 1U);
}

TEST(AssistDecoder, RefusesWhatIsNotOurs) {
    EXPECT_FALSE(decode_bytes({}));
    EXPECT_FALSE(decode_bytes({0x90}));
    EXPECT_FALSE(decode_bytes({0xF0, 0xCC}));              // lock
    EXPECT_FALSE(decode_bytes({0x48, 0x48, 0xCC}));        // two REX
    EXPECT_FALSE(decode_bytes({0x0F, 0xAE, 0x15, 1, 2}));  // cut short
    EXPECT_FALSE(decode_bytes({0x66, 0x0F, 0x01, 0xCA}));  // no clac
    EXPECT_FALSE(decode_bytes({0x0F, 0xB8, 0xC1}));        // popcnt without F3
    EXPECT_FALSE(decode_bytes({0xF3, 0x0F, 0xC7, 0xF8}));  // rdpid
    EXPECT_FALSE(decode_bytes({0x0F, 0xAE, 0x20}));        // xsave
    EXPECT_FALSE(decode_bytes({0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
                               0xCC}));  // longer than any instruction
}

TEST(AssistDecoder, AnInstructionCutShortIsNone) {
    std::array<std::byte, 10> bytes{};
    unsigned decoded = 0;
    for (const unsigned prefix : {0x66U, 0xF2U, 0xF3U, 0x48U, 0x67U, 0x2EU}) {
        for (unsigned code = 0; code < 0x10000; ++code) {
            bytes = {static_cast<std::byte>(prefix), std::byte{0x0F}, static_cast<std::byte>(code >> 8),
                     static_cast<std::byte>(code), std::byte{0x25}};
            const std::optional<Instruction> whole = decode(bytes);
            if (!whole) continue;
            ++decoded;
            ASSERT_LE(whole->length, bytes.size());
            const auto all = std::span(bytes).first(whole->length);
            ASSERT_EQ(decode(all), whole) << "more than its own bytes mattered";
            for (std::size_t length = 0; length < all.size(); ++length) ASSERT_FALSE(decode(all.first(length)));
        }
    }
    EXPECT_GT(decoded, 1000U);
}

}  // namespace
}  // namespace penumbra::vmm
