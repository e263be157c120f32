// A list of pages to touch, and the loop that touches them: the same code for a guest and for a host thread.
// Freestanding. Every page holds, in its first word, a stamp that follows from its number and how often it was changed.
#pragma once

#include <cstdint>

namespace penumbra::abi {

struct TouchOrder {
    std::uint32_t page;     ///< number, from the list's first page on
    std::uint32_t changes;  ///< made to the page so far
};

/// One page of its own; the orders follow it.
struct TouchList {
    std::uint64_t count;
    std::uint64_t kind;        ///< abi::TouchKind
    std::uint64_t first;       ///< address of page 0, for the one who touches
    std::uint64_t mismatches;  ///< written by the one who touches: pages that did not hold their stamp
    std::uint64_t first_bad;   ///< the first of them
};
inline constexpr std::uint64_t touch_orders_offset = 4096;

[[nodiscard]] constexpr std::uint64_t touch_stamp(std::uint64_t page, std::uint64_t changes) {
    return (page + 1) * 0x9E37'79B9'7F4A'7C15 + changes;
}

/// Reads one word of a page.
struct ReadTouch {
    [[nodiscard]] std::uint64_t operator()(std::uint64_t address) const {
        std::uint64_t value;
        asm volatile("movq (%1), %0" : "=r"(value) : "r"(address) : "memory");
        return value;
    }
};
/// Changes one word of a page, and tells what it was, in one instruction: a page that is out faults once, as a write.
struct WriteTouch {
    [[nodiscard]] std::uint64_t operator()(std::uint64_t address) const {
        std::uint64_t value = 1;
        asm volatile("xaddq %0, (%1)" : "+r"(value) : "r"(address) : "memory");
        return value;
    }
};

template <class Touch>
void touch_each(volatile TouchList& list, Touch touch) {
    const auto* const orders =
        reinterpret_cast<const volatile TouchOrder*>(reinterpret_cast<std::uintptr_t>(&list) + touch_orders_offset);
    const std::uint64_t count = list.count;
    const std::uint64_t first = list.first;
    std::uint64_t mismatches = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint64_t page = orders[i].page;
        const std::uint64_t changes = orders[i].changes;
        if (touch(first + page * 4096) == touch_stamp(page, changes)) continue;
        if (mismatches++ == 0) list.first_bad = page;
    }
    list.mismatches = mismatches;
}

/// Does what the list says.
inline void work_through(volatile TouchList& list, bool write) {
    write ? touch_each(list, WriteTouch{}) : touch_each(list, ReadTouch{});
}

}  // namespace penumbra::abi
