#include "vmm/memory/tier/page_codec.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "tests/support/library_pages.hpp"

namespace penumbra::vmm {
namespace {

using test::Page;

class PageCodecTest : public ::testing::TestWithParam<Codec> {
protected:
    PageCompressor compressor_;
};

TEST_P(PageCodecTest, RealPagesComeBackAsTheyWere) {
    Page blob{};
    Page out{};
    std::size_t fitted = 0;
    const auto pages = test::library_pages(512);
    for (const Page& page : pages) {
        const std::size_t length = compressor_.compress(GetParam(), page, std::span{blob}.first(3072));
        if (length == 0) continue;
        ++fitted;
        ASSERT_LE(length, 3072U);
        ASSERT_TRUE(decode_page(encoding_of(GetParam()), std::span{blob}.first(length), out));
        EXPECT_EQ(out, page);
    }
    EXPECT_GT(fitted, pages.size() / 2);
    EXPECT_EQ(compressor_.compress(GetParam(), test::noise_page(1), std::span{blob}.first(3072)), 0U);
}

TEST_P(PageCodecTest, WhateverWasStoredNothingIsWrittenOutsideThePage) {
    std::mt19937 random{3};
    Page blob{};
    struct {
        Page page;
        std::array<std::byte, 64> behind;
    } out{};
    const auto pages = test::library_pages(64);
    for (unsigned turn = 0; turn < 4000; ++turn) {
        const std::size_t length = compressor_.compress(GetParam(), pages[turn % pages.size()], blob);
        std::span<std::byte> stored = std::span{blob}.first(length == 0 ? page_bytes : length);
        for (unsigned flips = random() % 8; flips > 0; --flips) {
            stored[random() % stored.size()] ^= static_cast<std::byte>(1U << random() % 8);
        }
        if (random() % 4 == 0) stored = stored.first(random() % stored.size());
        (void)decode_page(encoding_of(GetParam()), stored, out.page);
    }
    EXPECT_EQ(out.behind, decltype(out.behind){});
}

INSTANTIATE_TEST_SUITE_P(Codecs, PageCodecTest, ::testing::Values(Codec::lz4, Codec::zstd),
                         [](const auto& codec) { return codec.param == Codec::lz4 ? "Lz4" : "Zstd"; });

TEST(PageCodec, KnowsPagesThatAreAllAlike) {
    Page page{};
    EXPECT_EQ(same_filled(page), 0U);
    const std::uint64_t fill = 0x0123456789abcdef;
    for (std::size_t at = 0; at < page.size(); at += sizeof fill) std::memcpy(page.data() + at, &fill, sizeof fill);
    EXPECT_EQ(same_filled(page), fill);
    Page out{};
    ASSERT_TRUE(decode_page(Encoding::filled, std::as_bytes(std::span{&fill, 1}), out));
    EXPECT_EQ(out, page);
    for (const std::size_t at : {std::size_t{0}, std::size_t{9}, page_bytes - 1}) {
        Page other = page;
        other[at] ^= std::byte{1};
        EXPECT_EQ(same_filled(other), std::nullopt) << at;
    }
}

TEST(PageCodec, RefusesLengthsThatItsFormsDoNotHave) {
    const Page page{};
    Page out{};
    EXPECT_FALSE(decode_page(Encoding::raw, std::span{page}.first(page_bytes - 1), out));
    EXPECT_FALSE(decode_page(Encoding::filled, std::span{page}.first(7), out));
    EXPECT_FALSE(decode_page(Encoding::filled, page, out));
    EXPECT_FALSE(decode_page(Encoding::zstd, std::span{page}.first(8), out));
    EXPECT_FALSE(decode_page(static_cast<Encoding>(9), page, out));
}

}  // namespace
}  // namespace penumbra::vmm
