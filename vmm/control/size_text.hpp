// Sizes, counts and durations as people write and read them.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace penumbra::vmm {

inline constexpr std::uint64_t kib = 1024;
inline constexpr std::uint64_t mib = 1024 * kib;
inline constexpr std::uint64_t gib = 1024 * mib;

/// Bytes from a whole number with an optional K, M or G (powers of two). `option` is named in the error.
[[nodiscard]] Result<std::uint64_t> parse_size(std::string_view option, std::string_view text);

/// A whole number in [least, most]. `option` is named in the error.
[[nodiscard]] Result<std::uint64_t> parse_number(std::string_view option, std::string_view text, std::uint64_t least,
                                                 std::uint64_t most);

/// "0 B", "1.5 KiB", "256 MiB": one decimal unless the size is a whole number of the unit.
[[nodiscard]] std::string human_bytes(std::uint64_t bytes);
/// As an option value that parse_size() reads back: "256M", "4K", "5000".
[[nodiscard]] std::string option_bytes(std::uint64_t bytes);
/// "1,234,567".
[[nodiscard]] std::string human_count(std::uint64_t count);
/// "7 s", "3 m 05 s", "2 h 00 m".
[[nodiscard]] std::string human_duration(std::chrono::seconds duration);

/// `text` with every control character replaced, so that whatever the user typed stays on one line.
[[nodiscard]] std::string one_line(std::string_view text);

}  // namespace penumbra::vmm
