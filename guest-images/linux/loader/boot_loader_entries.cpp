#include "guest-images/linux/loader/boot_loader_entries.hpp"

#include <algorithm>
#include <compare>
#include <cstddef>

#include "guest-images/linux/loader/version_order.hpp"

namespace penumbra::loader {
namespace {

constexpr std::size_t entry_limit = 256;
constexpr std::size_t entry_bytes = 64U << 10U;
constexpr std::size_t initrd_limit = 16;

std::string_view take_line(std::string_view& text) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line;
}

/// (key, value) of a line "key value"; both empty for a comment.
std::pair<std::string_view, std::string_view> key_and_value(std::string_view line) {
    constexpr std::string_view blanks = " \t";
    const std::size_t start = std::min(line.find_first_not_of(blanks), line.size());
    line.remove_prefix(start);
    if (line.starts_with('#')) return {};
    const std::size_t end = std::min(line.find_first_of(blanks), line.size());
    std::string_view value = line.substr(end);
    value.remove_prefix(std::min(value.find_first_not_of(blanks), value.size()));
    while (value.ends_with(' ') || value.ends_with('\t')) value.remove_suffix(1);
    return {line.substr(0, end), value};
}

/// The newest first; without versions the names decide, which hold versions too.
bool before(const BootLoaderEntry& left, const BootLoaderEntry& right) {
    if (const auto order = left.sort_key <=> right.sort_key; order != 0) return order < 0;
    if (const auto order = compare_versions(left.version, right.version); order != 0) return order > 0;
    return compare_versions(left.id, right.id) > 0;
}

}  // namespace

std::string BootLoaderEntry::as_grub_script() const {
    std::string script = "linux " + kernel + " " + options + "\ninitrd";
    for (const std::string& initrd : initrds) script += " " + initrd;
    return script + "\n";
}

BootLoaderEntry parse_boot_loader_entry(std::string_view id, std::string_view text) {
    BootLoaderEntry entry;
    entry.id = id;
    while (!text.empty()) {
        const auto [key, value] = key_and_value(take_line(text));
        if (key == "title") entry.title = value;
        if (key == "version") entry.version = value;
        if (key == "sort-key") entry.sort_key = value;
        if (key == "linux") entry.kernel = value;
        if (key == "initrd" && entry.initrds.size() < initrd_limit) entry.initrds.emplace_back(value);
        if (key == "options") entry.options += (entry.options.empty() ? "" : " ") + std::string(value);
    }
    if (entry.title.empty()) entry.title = entry.id;
    return entry;
}

std::vector<BootLoaderEntry> read_boot_loader_entries(const BootFiles& files, const FileReference& folder) {
    constexpr std::string_view suffix = ".conf";
    std::vector<BootLoaderEntry> entries;
    for (const std::string& name : files.list(folder, entry_limit)) {
        if (!name.ends_with(suffix)) continue;
        const auto text = files.read({folder.file_system, folder.path + "/" + name}, entry_bytes);
        if (!text) continue;
        auto entry = parse_boot_loader_entry(std::string_view(name).substr(0, name.size() - suffix.size()), *text);
        if (!entry.kernel.empty()) entries.push_back(std::move(entry));
    }
    std::ranges::sort(entries, before);
    return entries;
}

std::string default_of_loader_conf(std::string_view text) {
    std::string found;
    while (!text.empty()) {
        const auto [key, value] = key_and_value(take_line(text));
        if (key == "default") found = value;
    }
    return found;
}

std::vector<std::pair<std::string, std::string>> parse_environment_block(std::string_view text) {
    std::vector<std::pair<std::string, std::string>> variables;
    while (!text.empty() && variables.size() < entry_limit) {
        const std::string_view line = take_line(text);
        const std::size_t equals = line.find('=');
        if (line.starts_with('#') || equals == std::string_view::npos || equals == 0) continue;
        std::string value;
        for (std::size_t i = equals + 1; i < line.size(); ++i) {
            if (line[i] == '\\' && i + 1 < line.size()) ++i;
            value += line[i];
        }
        variables.emplace_back(line.substr(0, equals), value);
    }
    return variables;
}

}  // namespace penumbra::loader
