#include "vmm/control/size_text.hpp"

#include <gtest/gtest.h>

namespace penumbra::vmm {
namespace {

TEST(SizeText, ReadsWholeNumbersWithPowerOfTwoSuffixes) {
    EXPECT_EQ(parse_size("--memory", "4096").value(), 4096U);
    EXPECT_EQ(parse_size("--memory", "4K").value(), 4 * kib);
    EXPECT_EQ(parse_size("--memory", "3m").value(), 3 * mib);
    EXPECT_EQ(parse_size("--memory", "64G").value(), 64 * gib);
    EXPECT_EQ(parse_size("--memory", "0").value(), 0U);
}

TEST(SizeText, RefusesWhatIsNotASize) {
    for (const char* text : {"", "K", "12Q", "1.5G", "-1M", "+1M", " 1M", "1M ", "1MB", "0x10", "G1", "1 M"}) {
        const auto size = parse_size("--memory", text);
        ASSERT_FALSE(size) << text;
        EXPECT_NE(size.error().message().find("cannot use --memory"), std::string::npos) << text;
        EXPECT_FALSE(size.error().cure.empty()) << text;
    }
}

TEST(SizeText, RefusesSizesBeyondSixtyFourBits) {
    EXPECT_EQ(parse_size("--memory", "18446744073709551615").value(), ~std::uint64_t{0});
    for (const char* text : {"18446744073709551616", "17179869184G", "99999999999999999999999999G"}) {
        const auto size = parse_size("--memory", text);
        ASSERT_FALSE(size) << text;
        EXPECT_NE(size.error().message().find("larger than any address"), std::string::npos) << text;
    }
}

TEST(SizeText, NumbersKeepTheirBounds) {
    EXPECT_EQ(parse_number("--cpus", "1", 1, 64).value(), 1U);
    EXPECT_EQ(parse_number("--cpus", "64", 1, 64).value(), 64U);
    for (const char* text : {"", "0", "65", "-1", "two", "1x", "99999999999999999999999"}) {
        EXPECT_FALSE(parse_number("--cpus", text, 1, 64)) << text;
    }
}

TEST(SizeText, HumanSizesPickTheUnit) {
    EXPECT_EQ(human_bytes(0), "0 B");
    EXPECT_EQ(human_bytes(1023), "1023 B");
    EXPECT_EQ(human_bytes(1536), "1.5 KiB");
    EXPECT_EQ(human_bytes(256 * mib), "256 MiB");
    EXPECT_EQ(human_bytes(mib - 1), "1.0 MiB");
    EXPECT_EQ(human_bytes(~std::uint64_t{0}), "16.0 EiB");
}

TEST(SizeText, OptionSizesReadBack) {
    for (const std::uint64_t bytes : {std::uint64_t{0}, std::uint64_t{4097}, 4 * kib, 20 * mib, 3 * gib, gib + kib}) {
        EXPECT_EQ(parse_size("--memory", option_bytes(bytes)).value(), bytes);
    }
    EXPECT_EQ(option_bytes(1024 * mib), "1G");
}

TEST(SizeText, CountsAndDurations) {
    EXPECT_EQ(human_count(7), "7");
    EXPECT_EQ(human_count(999), "999");
    EXPECT_EQ(human_count(1000), "1,000");
    EXPECT_EQ(human_count(1234567), "1,234,567");
    EXPECT_EQ(human_duration(std::chrono::seconds{7}), "7 s");
    EXPECT_EQ(human_duration(std::chrono::seconds{185}), "3 m 05 s");
    EXPECT_EQ(human_duration(std::chrono::seconds{7260}), "2 h 01 m");
}

TEST(SizeText, OneLineHasNoControlCharacters) { EXPECT_EQ(one_line("a\nb\x1b[2K\x7f"), "a?b?[2K?"); }

}  // namespace
}  // namespace penumbra::vmm
