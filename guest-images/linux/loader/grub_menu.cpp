#include "guest-images/linux/loader/grub_menu.hpp"

#include <charconv>
#include <system_error>

namespace penumbra::loader {
namespace {

const MenuItem* find_line(const std::vector<MenuItem>& menu, std::string_view name) {
    std::size_t index = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), index);
    if (!name.empty() && error == std::errc{} && end == name.data() + name.size()) {
        return index < menu.size() ? &menu[index] : nullptr;
    }
    for (const MenuItem& line : menu) {
        if (line.id == name || line.title == name) return &line;
    }
    return nullptr;
}

const MenuItem* first_entry(const MenuItem* line) {
    while (line != nullptr && line->body == nullptr) line = line->children.empty() ? nullptr : &line->children.front();
    return line;
}

void collect(const std::vector<MenuItem>& menu, std::size_t limit, std::vector<const MenuItem*>& out) {
    for (const MenuItem& line : menu) {
        if (line.body != nullptr && out.size() < limit) out.push_back(&line);
        collect(line.children, limit, out);
    }
}

bool fits(std::string_view text, std::string_view pattern) {
    std::size_t at = 0;
    std::size_t in_pattern = 0;
    std::size_t star = std::string_view::npos;
    std::size_t after_star = 0;
    while (at < text.size()) {
        if (in_pattern < pattern.size() && pattern[in_pattern] == '*') {
            star = in_pattern++;
            after_star = at;
        } else if (in_pattern < pattern.size() && pattern[in_pattern] == text[at]) {
            ++in_pattern;
            ++at;
        } else if (star != std::string_view::npos) {
            in_pattern = star + 1;
            at = ++after_star;
        } else {
            return false;
        }
    }
    while (in_pattern < pattern.size() && pattern[in_pattern] == '*') ++in_pattern;
    return in_pattern == pattern.size();
}

}  // namespace

const MenuItem* find_entry(const std::vector<MenuItem>& menu, std::string_view name) {
    if (name.empty()) name = "0";
    // A title may hold the sign itself: a line of that whole name comes first.
    if (const MenuItem* whole = find_line(menu, name)) return first_entry(whole);
    const std::vector<MenuItem>* level = &menu;
    const MenuItem* line = nullptr;
    while (!name.empty()) {
        const std::size_t sign = name.find('>');
        line = find_line(*level, name.substr(0, sign));
        if (line == nullptr || sign == std::string_view::npos) break;
        level = &line->children;
        name.remove_prefix(sign + 1);
    }
    return first_entry(line);
}

const MenuItem* match_entry(const std::vector<MenuItem>& menu, std::string_view pattern) {
    if (pattern.ends_with(".conf")) pattern.remove_suffix(5);
    if (pattern.empty()) return nullptr;
    for (const MenuItem& line : menu) {
        if (line.body != nullptr && fits(line.id, pattern)) return &line;
    }
    return nullptr;
}

std::vector<const MenuItem*> all_entries(const std::vector<MenuItem>& menu, std::size_t limit) {
    std::vector<const MenuItem*> out;
    collect(menu, limit, out);
    return out;
}

}  // namespace penumbra::loader
