// A fill's pattern, eight bytes that repeat.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace penumbra::vmm {

/// As bytes lie in memory from byte `phase` of the pattern on.
[[nodiscard]] constexpr std::uint64_t turned(std::uint64_t pattern, std::uint64_t phase) {
    return std::rotr(pattern, static_cast<int>(phase % 8 * 8));
}

inline void fill_bytes(std::byte* at, std::uint64_t bytes, std::uint64_t pattern) {
    for (; bytes >= sizeof(pattern); bytes -= sizeof(pattern), at += sizeof(pattern)) {
        std::memcpy(at, &pattern, sizeof(pattern));
    }
    std::memcpy(at, &pattern, bytes);
}

}  // namespace penumbra::vmm
