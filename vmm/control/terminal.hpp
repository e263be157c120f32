// What the stream a person reads can show. Escape sequences go to terminals only.
#pragma once

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace penumbra::vmm {

enum class Colour : std::uint8_t { off, on };
enum class Paint : std::uint8_t { good, caution, bad, title };

/// True when escape sequences on `stream` reach a terminal that understands them.
[[nodiscard]] inline bool is_terminal(std::FILE* stream) {
    const char* term = std::getenv("TERM");
    return ::isatty(::fileno(stream)) == 1 && term != nullptr && std::string_view{term} != "dumb";
}

/// Colour for a stream: on for terminals, unless the user set NO_COLOR (no-color.org).
[[nodiscard]] inline Colour colour_for(std::FILE* stream) {
    const char* refused = std::getenv("NO_COLOR");
    const bool wanted = refused == nullptr || *refused == '\0';
    return wanted && is_terminal(stream) ? Colour::on : Colour::off;
}

/// Width of the terminal behind `stream`, or 80.
[[nodiscard]] inline unsigned columns_of(std::FILE* stream) {
    winsize size{};
    return ::ioctl(::fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col != 0 ? size.ws_col : 80;
}

[[nodiscard]] inline std::string painted(std::string_view text, Paint paint, Colour colour) {
    if (colour == Colour::off) return std::string{text};
    const char* code = paint == Paint::good ? "32" : paint == Paint::caution ? "33" : paint == Paint::bad ? "31" : "1";
    return std::string{"\x1b["} + code + "m" + std::string{text} + "\x1b[0m";
}

}  // namespace penumbra::vmm
