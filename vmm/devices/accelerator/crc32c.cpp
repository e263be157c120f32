#include "vmm/devices/accelerator/crc32c.hpp"

#include <nmmintrin.h>

#include <array>
#include <cstring>

namespace penumbra::vmm {

namespace {

constexpr std::array<std::uint32_t, 256> make_table() {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t i = 0; i < table.size(); ++i) {
        std::uint32_t value = i;
        for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0x82F6'3B78U : 0U);
        table[i] = value;
    }
    return table;
}
constexpr std::array<std::uint32_t, 256> table = make_table();

__attribute__((target("sse4.2"))) std::uint32_t extend_sse42(std::uint32_t state, std::span<const std::byte> data) {
    std::uint64_t wide = state;
    while (data.size() >= sizeof(std::uint64_t)) {
        std::uint64_t word = 0;
        std::memcpy(&word, data.data(), sizeof(word));
        wide = _mm_crc32_u64(wide, word);
        data = data.subspan(sizeof(word));
    }
    auto narrow = static_cast<std::uint32_t>(wide);
    for (const std::byte byte : data) narrow = _mm_crc32_u8(narrow, std::to_integer<std::uint8_t>(byte));
    return narrow;
}

}  // namespace

std::uint32_t crc32c_extend_portable(std::uint32_t state, std::span<const std::byte> data) {
    for (const std::byte byte : data) {
        state = (state >> 8) ^ table[(state ^ std::to_integer<std::uint32_t>(byte)) & 0xFF];
    }
    return state;
}

std::uint32_t crc32c_extend(std::uint32_t state, std::span<const std::byte> data) {
    static const bool has_instruction = __builtin_cpu_supports("sse4.2") != 0;
    return has_instruction ? extend_sse42(state, data) : crc32c_extend_portable(state, data);
}

}  // namespace penumbra::vmm
