#include "vmm/control/size_text.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <limits>

namespace penumbra::vmm {

namespace {

std::uint64_t unit_of(char suffix) {
    switch (suffix) {
        case 'k':
        case 'K':
            return kib;
        case 'm':
        case 'M':
            return mib;
        case 'g':
        case 'G':
            return gib;
        default:
            return 0;
    }
}

std::unexpected<Error> refused(std::string_view option, std::string_view text, std::string_view cause,
                               std::string cure) {
    return fail("use", fmt::format("{} '{}': {}", option, text, cause), std::move(cure));
}

}  // namespace

Result<std::uint64_t> parse_size(std::string_view option, std::string_view text) {
    constexpr auto cure = "give a whole number of bytes or one with K, M or G, such as 512M";
    std::string_view digits = text;
    std::uint64_t unit = 1;
    if (!digits.empty() && unit_of(digits.back()) != 0) {
        unit = unit_of(digits.back());
        digits.remove_suffix(1);
    }
    std::uint64_t number = 0;
    const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    const bool too_large = code == std::errc::result_out_of_range;
    if (digits.empty() || end != digits.data() + digits.size() || (code != std::errc{} && !too_large)) {
        return refused(option, text, "not a size", cure);
    }
    if (too_large || number > std::numeric_limits<std::uint64_t>::max() / unit) {
        return refused(option, text, "larger than any address", cure);
    }
    return number * unit;
}

Result<std::uint64_t> parse_number(std::string_view option, std::string_view text, std::uint64_t least,
                                   std::uint64_t most) {
    std::uint64_t number = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
    const bool too_large = code == std::errc::result_out_of_range;
    const auto cure = fmt::format("give a whole number from {} to {}", least, most);
    if (text.empty() || end != text.data() + text.size() || (code != std::errc{} && !too_large)) {
        return refused(option, text, "not a whole number", cure);
    }
    if (too_large || number < least || number > most) return refused(option, text, "out of range", cure);
    return number;
}

std::string human_bytes(std::uint64_t bytes) {
    constexpr std::array<const char*, 7> names{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    std::size_t unit = 0;
    std::uint64_t scale = 1;
    // 1023.95 rounds to 1024.0, which is one of the next unit.
    while (unit + 1 < names.size() && static_cast<double>(bytes) >= 1023.95 * static_cast<double>(scale)) {
        scale *= 1024;
        ++unit;
    }
    if (bytes % scale == 0) return fmt::format("{} {}", bytes / scale, names[unit]);
    return fmt::format("{:.1f} {}", static_cast<double>(bytes) / static_cast<double>(scale), names[unit]);
}

std::string option_bytes(std::uint64_t bytes) {
    if (bytes == 0) return "0";
    if (bytes % gib == 0) return fmt::format("{}G", bytes / gib);
    if (bytes % mib == 0) return fmt::format("{}M", bytes / mib);
    if (bytes % kib == 0) return fmt::format("{}K", bytes / kib);
    return fmt::format("{}", bytes);
}

std::string human_count(std::uint64_t count) {
    std::string text = fmt::format("{}", count);
    for (std::size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, ",");
    return text;
}

std::string human_duration(std::chrono::seconds duration) {
    const auto seconds = duration.count();
    if (seconds < 60) return fmt::format("{} s", seconds);
    if (seconds < 3600) return fmt::format("{} m {:02} s", seconds / 60, seconds % 60);
    return fmt::format("{} h {:02} m", seconds / 3600, seconds / 60 % 60);
}

std::string one_line(std::string_view text) {
    std::string line{text};
    for (char& letter : line) {
        const auto code = static_cast<unsigned char>(letter);
        if (code < 0x20 || code == 0x7f) letter = '?';
    }
    return line;
}

}  // namespace penumbra::vmm
