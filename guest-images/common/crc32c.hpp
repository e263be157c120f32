// CRC32C (the iSCSI polynomial: start ~0, reflected, final complement) with the SSE4.2 instruction, three chains at a
// time: one chain waits three cycles for each result.
#pragma once

#include <cstddef>
#include <cstdint>

namespace penumbra::guest {

namespace detail {

inline constexpr std::size_t block_words = 512;  // one page
inline constexpr std::size_t lane_words = 170;   // three lanes and two words over
inline constexpr std::size_t no_hole = ~std::size_t{0};

/// Product of two reflected polynomials modulo CRC32C's; bit 31 is the coefficient of x^0.
constexpr std::uint32_t multiply(std::uint32_t a, std::uint32_t b) {
    std::uint32_t product = 0;
    for (int bit = 31; bit >= 0; --bit) {
        if (((a >> bit) & 1) != 0) product ^= b;
        b = (b >> 1) ^ ((b & 1) != 0 ? 0x82F6'3B78U : 0U);
    }
    return product;
}
constexpr std::uint32_t power_of_x(std::uint64_t exponent) {
    std::uint32_t result = 1U << 31;
    std::uint32_t square = 1U << 30;
    for (; exponent != 0; exponent >>= 1) {
        if ((exponent & 1) != 0) result = multiply(result, square);
        square = multiply(square, square);
    }
    return result;
}

/// Moves a chain's register past one lane of zero bytes, a byte of the register at a time.
struct LaneShift {
    std::uint32_t of[4][256];

    constexpr LaneShift() : of() {
        const std::uint32_t factor = power_of_x(lane_words * 64);
        for (unsigned byte = 0; byte < 4; ++byte) {
            for (std::uint32_t value = 0; value < 256; ++value) of[byte][value] = multiply(factor, value << (8 * byte));
        }
    }
    constexpr std::uint64_t operator()(std::uint64_t chain) const {
        return of[0][chain & 255] ^ of[1][chain >> 8 & 255] ^ of[2][chain >> 16 & 255] ^ of[3][chain >> 24 & 255];
    }
};
inline constexpr LaneShift lane_shift{};

inline std::uint64_t load_word(const std::uint8_t* at) {
    std::uint64_t word;
    __builtin_memcpy(&word, at, sizeof(word));
    return word;
}
inline std::uint64_t crc_word(std::uint64_t chain, std::uint64_t word) {
    asm("crc32q %1, %0" : "+r"(chain) : "r"(word));
    return chain;
}

struct Chains {
    std::uint64_t chain[3];
};

/// Words [first, end) of all three lanes of a page; word `hole` of the page counts as zero.
inline Chains run_lanes(Chains c, const std::uint8_t* page, std::size_t first, std::size_t end, std::size_t hole) {
    const std::uint8_t* const lane[3] = {page, page + lane_words * 8, page + 2 * lane_words * 8};
    for (std::size_t i = first; i < end; ++i) {
        for (std::size_t l = 0; l < 3; ++l) {
            const bool skipped = l * lane_words + i == hole;
            c.chain[l] = crc_word(c.chain[l], skipped ? 0 : load_word(lane[l] + i * 8));
        }
    }
    return c;
}

/// The register after one page, whose word `hole` counts as zero.
inline std::uint64_t crc_block(std::uint64_t start, const std::uint8_t* page, std::size_t hole) {
    Chains c{{start, 0, 0}};
    const std::size_t split = hole < 3 * lane_words ? hole % lane_words : lane_words;
    c = run_lanes(c, page, 0, split, no_hole);
    if (split < lane_words) {
        c = run_lanes(c, page, split, split + 1, hole);
        c = run_lanes(c, page, split + 1, lane_words, no_hole);
    }
    std::uint64_t chain = lane_shift(lane_shift(c.chain[0]) ^ c.chain[1]) ^ c.chain[2];
    for (std::size_t i = 3 * lane_words; i < block_words; ++i) {
        chain = crc_word(chain, i == hole ? 0 : load_word(page + i * 8));
    }
    return chain;
}

}  // namespace detail

/// The sum of a 4 KiB page whose aligned 64-bit word number `hole` (0..511) is taken as zero.
inline std::uint32_t crc32c_of_page(const std::uint8_t* page, std::size_t hole) {
    return static_cast<std::uint32_t>(~detail::crc_block(0xFFFF'FFFF, page, hole));
}

/// The sum of `bytes` bytes, a multiple of 8.
inline std::uint32_t crc32c(const std::uint8_t* data, std::size_t bytes) {
    std::uint64_t chain = 0xFFFF'FFFF;
    for (; bytes >= detail::block_words * 8; bytes -= detail::block_words * 8, data += detail::block_words * 8) {
        chain = detail::crc_block(chain, data, detail::no_hole);
    }
    for (; bytes >= 8; bytes -= 8, data += 8) chain = detail::crc_word(chain, detail::load_word(data));
    return static_cast<std::uint32_t>(~chain);
}

}  // namespace penumbra::guest
