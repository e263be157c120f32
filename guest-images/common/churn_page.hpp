// What a tested page holds, and how it is judged: real data with a stamp that says which page it is, which generation
// of it, and the sum of all its bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "guest-images/common/churn_layout.hpp"
#include "guest-images/common/crc32c.hpp"
#include "guest-images/common/rng.hpp"

namespace penumbra::guest {

/// What is known of a page outside of it.
struct PageState {
    std::uint32_t generation;
    std::uint16_t verified;  ///< times, saturating
    std::uint16_t flags;     ///< page_lent or 0
};
static_assert(sizeof(PageState) == sizeof(std::uint64_t));
inline constexpr std::uint16_t page_lent = 1;  ///< the accelerator reads it: hands off until its result is in

struct Stamp {
    std::uint64_t identity;  ///< stamp_magic ^ gfn
    std::uint64_t generation;
    std::uint64_t crc;  ///< of the page with this word zero
    std::uint64_t cpu;
};
static_assert(sizeof(Stamp) == 32);
inline constexpr std::uint64_t stamp_magic = 0x50'4D41'5453'554E'50;

enum class PageVerdict : std::uint8_t { right, other_page, other_generation, damaged };

/// The stamp's place differs from page to page, and stays when a page is rewritten.
constexpr std::size_t stamp_offset(std::uint64_t gfn) {
    return static_cast<std::size_t>(mix(gfn) % (page_bytes / sizeof(Stamp))) * sizeof(Stamp);
}
constexpr std::size_t crc_word_index(std::uint64_t gfn) {
    return (stamp_offset(gfn) + offsetof(Stamp, crc)) / sizeof(std::uint64_t);
}
inline Stamp stamp_of(const std::uint8_t* page, std::uint64_t gfn) {
    Stamp stamp;
    __builtin_memcpy(&stamp, page + stamp_offset(gfn), sizeof(stamp));
    return stamp;
}

/// Words in an order that no two pages share: about as compressible as real text.
inline void write_text(std::uint8_t* page, std::uint64_t seed) {
    constexpr std::uint64_t words = 32;
    constexpr char text[words * 8 + 1] =
        "the     page    memory  of a    guest   was     moved   out and back in once    more    without "
        "losing  a byte  while   devices read    it at   the sametime    nobody  noticed that it had     "
        "left    ;\n      return  struct  0123456776543210{       }       ";
    static_assert(sizeof(text) == words * 8 + 1);
    Random random(seed);
    for (std::uint64_t at = 0; at < page_bytes; at += 64) {
        std::uint64_t bits = random.next();
        for (std::uint64_t i = 0; i < 8; ++i, bits >>= 8) {
            __builtin_memcpy(page + at + i * 8, text + bits % words * 8, 8);
        }
    }
}

/// Writes the page's next contents: a payload page (`payload` null: text), then the stamp.
inline void write_page(std::uint8_t* page, const std::uint8_t* payload, std::uint64_t gfn, std::uint32_t generation,
                       std::uint64_t cpu) {
    if (payload != nullptr) {
        __builtin_memcpy(page, payload, page_bytes);
    } else {
        write_text(page, mix(gfn, generation));
    }
    Stamp stamp{stamp_magic ^ gfn, generation, 0, cpu};
    std::uint8_t* const place = page + stamp_offset(gfn);
    __builtin_memcpy(place, &stamp, sizeof(stamp));
    stamp.crc = crc32c_of_page(page, crc_word_index(gfn));
    __builtin_memcpy(place + offsetof(Stamp, crc), &stamp.crc, sizeof(stamp.crc));
}

/// Reads only.
inline PageVerdict judge_page(const std::uint8_t* page, std::uint64_t gfn, std::uint32_t generation) {
    const Stamp stamp = stamp_of(page, gfn);
    if (stamp.crc == crc32c_of_page(page, crc_word_index(gfn))) {
        if (stamp.identity != (stamp_magic ^ gfn)) return PageVerdict::other_page;
        return stamp.generation == generation ? PageVerdict::right : PageVerdict::other_generation;
    }
    if (stamp.identity != (stamp_magic ^ gfn)) return PageVerdict::other_page;
    return PageVerdict::damaged;
}

constexpr const char* describe(PageVerdict verdict) {
    switch (verdict) {
        case PageVerdict::right:
            return "right";
        case PageVerdict::other_page:
            return "stamp is not this page's";
        case PageVerdict::other_generation:
            return "generation differs";
        case PageVerdict::damaged:
            return "crc differs";
    }
    return "";
}

}  // namespace penumbra::guest
