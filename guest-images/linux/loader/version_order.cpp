#include "guest-images/linux/loader/version_order.hpp"

#include <cstddef>

namespace penumbra::loader {
namespace {

bool digit(char c) { return c >= '0' && c <= '9'; }
bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/// The end and the start of a number weigh 0.
int weight(std::string_view text) {
    if (text.empty() || digit(text.front())) return 0;
    const char c = text.front();
    if (c == '~') return -1;
    const int value = static_cast<unsigned char>(c);
    return letter(c) ? value : value + 256;
}

std::string_view take_number(std::string_view& text) {
    std::size_t zeros = 0;
    while (zeros < text.size() && text[zeros] == '0') ++zeros;
    std::size_t end = zeros;
    while (end < text.size() && digit(text[end])) ++end;
    const std::string_view number = text.substr(zeros, end - zeros);
    text.remove_prefix(end);
    return number;
}

}  // namespace

std::strong_ordering compare_versions(std::string_view left, std::string_view right) {
    while (!left.empty() || !right.empty()) {
        while (weight(left) != 0 || weight(right) != 0) {
            if (weight(left) != weight(right)) return weight(left) <=> weight(right);
            left.remove_prefix(1);
            right.remove_prefix(1);
        }
        const std::string_view a = take_number(left);
        const std::string_view b = take_number(right);
        if (a.size() != b.size()) return a.size() <=> b.size();
        if (const int order = a.compare(b); order != 0) return order <=> 0;
    }
    return std::strong_ordering::equal;
}

}  // namespace penumbra::loader
