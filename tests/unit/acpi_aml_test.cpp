#include <gtest/gtest.h>

#include <string>

#include "vmm/boot/acpi/aml.hpp"
#include "vmm/boot/acpi/resources.hpp"

namespace penumbra::vmm::aml {
namespace {

std::string hex(std::span<const std::byte> bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    for (const std::byte value : bytes) {
        if (!text.empty()) text += ' ';
        text += digits[std::to_integer<unsigned>(value) >> 4];
        text += digits[std::to_integer<unsigned>(value) & 15];
    }
    return text;
}

/// Reads a package length as ACPI 6.5, 20.2.4 lays it down: how many bytes it has, and what it says.
std::pair<std::size_t, std::size_t> read_length(const Bytes& bytes) {
    const auto lead = std::to_integer<std::size_t>(bytes.at(0));
    const std::size_t more = lead >> 6;
    if (more == 0) return {1, lead & 0x3F};
    std::size_t length = lead & 0xF;
    for (std::size_t i = 0; i < more; ++i) length |= std::to_integer<std::size_t>(bytes.at(1 + i)) << (4 + 8 * i);
    return {1 + more, length};
}

TEST(Aml, PackageLengthCountsItself) {
    // The most content that each width holds, and one more.
    const std::vector<std::pair<std::size_t, std::size_t>> widths{
        {0, 1}, {62, 1}, {63, 2}, {4093, 2}, {4094, 3}, {(1U << 20) - 4, 3}, {(1U << 20) - 3, 4}, {(1U << 28) - 5, 4}};
    for (const auto& [content, width] : widths) {
        const Bytes bytes = package_length(content);
        EXPECT_EQ(bytes.size(), width) << content;
        EXPECT_EQ(read_length(bytes), std::pair(width, content + width)) << content;
    }
    EXPECT_EQ(hex(package_length(62)), "3f");
    EXPECT_EQ(hex(package_length(63)), "41 04");
    EXPECT_DEATH((void)package_length((1U << 28) - 4), "too long");
}

TEST(Aml, IntegersTakeTheirShortestForm) {
    EXPECT_EQ(hex(integer(0)), "00");
    EXPECT_EQ(hex(integer(1)), "01");
    EXPECT_EQ(hex(integer(2)), "0a 02");
    EXPECT_EQ(hex(integer(0xFF)), "0a ff");
    EXPECT_EQ(hex(integer(0x100)), "0b 00 01");
    EXPECT_EQ(hex(integer(0xFFFF)), "0b ff ff");
    EXPECT_EQ(hex(integer(0x10000)), "0c 00 00 01 00");
    EXPECT_EQ(hex(integer(0xFFFF'FFFF)), "0c ff ff ff ff");
    EXPECT_EQ(hex(integer(0x1'0000'0000)), "0e 00 00 00 00 01 00 00 00");
    EXPECT_EQ(hex(integer(~0ULL)), "0e ff ff ff ff ff ff ff ff");
}

TEST(Aml, NamesArePaddedAndPrefixed) {
    EXPECT_EQ(hex(name_string("PCI0")), "50 43 49 30");
    EXPECT_EQ(hex(name_string("_SB")), "5f 53 42 5f");
    EXPECT_EQ(hex(name_string("\\A")), "5c 41 5f 5f 5f");
    EXPECT_EQ(hex(name_string("^^A")), "5e 5e 41 5f 5f 5f");
    EXPECT_EQ(hex(name_string("A.B")), "2e 41 5f 5f 5f 42 5f 5f 5f");
    EXPECT_EQ(hex(name_string("\\A.B.C")), "5c 2f 03 41 5f 5f 5f 42 5f 5f 5f 43 5f 5f 5f");
    for (const std::string_view bad : {"", "A.", ".A", "ABCDE", "0A", "a", "A B", "^\\A"}) {
        EXPECT_DEATH((void)name_string(bad), "AML") << bad;
    }
}

TEST(Aml, StringsAndIdentifiers) {
    EXPECT_EQ(hex(string("Hi")), "0d 48 69 00");
    EXPECT_DEATH((void)string("\n"), "AML string");
    EXPECT_EQ(hex(eisa_id("PNP0A03")), "0c 41 d0 0a 03") << "as every PC's PCI bus has it";
    EXPECT_EQ(hex(eisa_id("PNP0501")), "0c 41 d0 05 01");
    for (const std::string_view bad : {"PNP", "pnp0A03", "PNP0a03", "PNP0G03"})
        EXPECT_DEATH((void)eisa_id(bad), "EISA");
}

TEST(Aml, BlocksHoldTheirTerms) {
    EXPECT_EQ(hex(name("A", integer(1))), "08 41 5f 5f 5f 01");
    EXPECT_EQ(hex(package({integer(0), integer(5)})), "12 05 02 00 0a 05");
    EXPECT_EQ(hex(buffer(Bytes{std::byte{7}})), "11 03 01 07");
    EXPECT_EQ(hex(scope("_SB", {integer(1)})), "10 06 5f 53 42 5f 01");
    EXPECT_EQ(hex(device("D", {})), "5b 82 05 44 5f 5f 5f");
    EXPECT_EQ(hex(constant_method("_STA", integer(15))), "14 09 5f 53 54 41 00 a4 0a 0f");
    EXPECT_DEATH((void)package(Terms(256, integer(0))), "too many elements");
}

TEST(AmlResources, DescriptorsAreLaidOutAsTheSpecificationSays) {
    EXPECT_EQ(hex(resource_template({})), "11 05 0a 02 79 00");
    EXPECT_EQ(hex(io_ports(0x3F8, 8)), "47 01 f8 03 f8 03 01 08");
    EXPECT_EQ(hex(isa_irq(4)), "22 10 00");
    EXPECT_EQ(hex(isa_irq(15)), "22 00 80");
    EXPECT_EQ(hex(level_interrupt(5)), "89 06 00 09 01 05 00 00 00");
    EXPECT_EQ(hex(fixed_memory(0xD010'0000, 0x1000)), "86 09 00 01 00 00 10 d0 00 10 00 00");
    EXPECT_EQ(hex(bus_numbers(0, 0)), "88 0d 00 02 0c 00 00 00 00 00 00 00 00 00 01 00");
    EXPECT_EQ(hex(io_window(0xD00, 0xFFFF)), "88 0d 00 01 0c 03 00 00 00 0d ff ff 00 00 00 f3");
    EXPECT_EQ(hex(memory_window(0xC000'0000, 0xCFFF'FFFF)),
              "87 17 00 00 0c 01 00 00 00 00 00 00 00 c0 ff ff ff cf 00 00 00 00 00 00 00 10");
}

TEST(AmlResources, ImpossibleBoundsAreBrokenPromises) {
    EXPECT_DEATH((void)isa_irq(16), "ISA");
    EXPECT_DEATH((void)io_window(2, 1), "bounds");
    EXPECT_DEATH((void)memory_window(0, 1ULL << 32), "bounds");
    EXPECT_DEATH((void)fixed_memory(0xFFFF'F000, 0x1001), "bounds");
    EXPECT_DEATH((void)fixed_memory(0, 0), "bounds");
}

}  // namespace
}  // namespace penumbra::vmm::aml
