// What the pages of the svm image hold: all of a page follows from its tag, its first word, so that whoever reads a
// page can tell what wrote it, and its sum is known without reading it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "guest-images/common/churn_layout.hpp"
#include "guest-images/common/crc32c.hpp"

namespace penumbra::guest {

enum class SvmKind : std::uint64_t {
    none = 0,
    data = 0xDA,    ///< written by the guest; owner: the page's number, version: how often it was written
    filler = 0xF0,  ///< the same of memory that no process maps
    fill = 0xF1,    ///< written by the device's fill; owner: who and where, version: the command's number
};

struct SvmTag {
    SvmKind kind;
    std::uint32_t owner;  ///< 24 bits
    std::uint32_t version;

    [[nodiscard]] constexpr std::uint64_t word() const {
        return static_cast<std::uint64_t>(kind) << 56 | std::uint64_t{owner} << 32 | version;
    }
    [[nodiscard]] static constexpr SvmTag of(std::uint64_t word) {
        return {static_cast<SvmKind>(word >> 56), static_cast<std::uint32_t>(word >> 32 & 0xFF'FFFF),
                static_cast<std::uint32_t>(word)};
    }
};

/// The command that a fill's pages name. Its pattern has no place for more.
struct SvmFillOwner {
    std::uint32_t process;
    std::uint32_t first;  ///< virtual page
    std::uint32_t pages;

    [[nodiscard]] constexpr std::uint32_t packed() const { return process << 16 | first << 8 | pages; }
    [[nodiscard]] static constexpr SvmFillOwner of(std::uint32_t packed) {
        return {packed >> 16, packed >> 8 & 0xFF, packed & 0xFF};
    }
};

/// Word `i` of a page: runs of eight equal ones, so that pages compress, and none lies where another does.
constexpr std::uint64_t svm_word(std::uint64_t tag, std::uint64_t i) {
    constexpr auto fill = static_cast<std::uint64_t>(SvmKind::fill);
    return tag >> 56 == fill ? tag : tag + (i >> 3) * 0x9E37'79B9'7F4A'7C15;
}

/// Writes a page; returns its *raw* sum: the CRC register after it, from 0.
inline std::uint32_t write_svm_page(std::uint8_t* page, std::uint64_t tag) {
    std::uint64_t chain = 0;
    for (std::uint64_t i = 0; i < page_bytes / 8; ++i) {
        const std::uint64_t word = svm_word(tag, i);
        __builtin_memcpy(page + i * 8, &word, sizeof(word));
        chain = detail::crc_word(chain, word);
    }
    return static_cast<std::uint32_t>(chain);
}

inline std::uint64_t svm_tag_of(const std::uint8_t* page) { return detail::load_word(page); }
/// Whether all of a page is what its tag says. Reads only.
inline bool svm_page_is(const std::uint8_t* page, std::uint64_t tag) {
    std::uint64_t differences = 0;
    for (std::uint64_t i = 0; i < page_bytes / 8; ++i)
        differences |= detail::load_word(page + i * 8) ^ svm_word(tag, i);
    return differences == 0;
}

/// Moves a CRC register past a page of zeros, a byte of the register at a time.
struct SvmPageShift {
    std::uint32_t of[4][256];

    constexpr SvmPageShift() : of() {
        const std::uint32_t factor = detail::power_of_x(page_bytes * 8);
        for (unsigned byte = 0; byte < 4; ++byte) {
            for (std::uint32_t value = 0; value < 256; ++value) {
                of[byte][value] = detail::multiply(factor, value << (8 * byte));
            }
        }
    }
};
inline constexpr SvmPageShift svm_page_shift{};

/// The register after one page more, whose raw sum is `raw`.
inline std::uint32_t svm_sum_with(std::uint32_t chain, std::uint32_t raw) {
    const auto& of = svm_page_shift.of;
    return of[0][chain & 255] ^ of[1][chain >> 8 & 255] ^ of[2][chain >> 16 & 255] ^ of[3][chain >> 24] ^ raw;
}
inline constexpr std::uint32_t svm_sum_start = 0xFFFF'FFFF;

}  // namespace penumbra::guest
