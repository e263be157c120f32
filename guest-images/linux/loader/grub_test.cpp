#include "guest-images/linux/loader/grub_test.hpp"

#include <charconv>
#include <cstddef>
#include <optional>

namespace penumbra::loader {
namespace {

long long number(std::string_view text) {
    long long value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

std::optional<bool> compare(const std::string& left, std::string_view how, const std::string& right) {
    if (how == "=" || how == "==") return left == right;
    if (how == "!=") return left != right;
    if (how == "<") return left < right;
    if (how == ">") return left > right;
    if (how == "-eq") return number(left) == number(right);
    if (how == "-ne") return number(left) != number(right);
    if (how == "-lt") return number(left) < number(right);
    if (how == "-le") return number(left) <= number(right);
    if (how == "-gt") return number(left) > number(right);
    if (how == "-ge") return number(left) >= number(right);
    return std::nullopt;
}

/// Takes one primary expression from `words` at `at`.
bool primary(const std::vector<std::string>& words, std::size_t& at,
             const std::function<bool(std::string_view, FileTest)>& file) {
    bool negated = false;
    while (at + 1 < words.size() && words[at] == "!") {
        negated = !negated;
        ++at;
    }
    if (at + 2 < words.size()) {
        if (const auto holds = compare(words[at], words[at + 1], words[at + 2])) {
            at += 3;
            return *holds != negated;
        }
    }
    const std::string& first = words[at];
    if (at + 1 < words.size() && first.size() == 2 && first[0] == '-' && words[at + 1] != "-a" &&
        words[at + 1] != "-o") {
        const std::string& value = words[at + 1];
        std::optional<bool> holds;
        if (first == "-n") holds = !value.empty();
        if (first == "-z") holds = value.empty();
        if (first == "-e" || first == "-f") holds = file(value, FileTest::exists);
        if (first == "-s") holds = file(value, FileTest::not_empty);
        if (first == "-d") holds = file(value, FileTest::folder);
        if (holds) {
            at += 2;
            return *holds != negated;
        }
    }
    ++at;
    return !first.empty() != negated;
}

}  // namespace

bool grub_test(const std::vector<std::string>& words, const std::function<bool(std::string_view, FileTest)>& file) {
    bool any = false;
    bool all = true;
    bool empty = true;
    for (std::size_t at = 0; at < words.size();) {
        if (!empty && words[at] == "-o") {
            any |= all;
            all = empty = true;
            ++at;
        } else if (!empty && words[at] == "-a") {
            ++at;
            empty = true;
        } else {
            const bool holds = primary(words, at, file);
            all = all && holds;
            empty = false;
        }
    }
    return any || (all && !empty);
}

}  // namespace penumbra::loader
