#include <cctype>

#include "guest-images/linux/loader/grub_machine.hpp"

namespace penumbra::loader {
namespace {

std::string lower(std::string_view text) {
    std::string made(text);
    for (char& c : made) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return made;
}

/// "hd0,gpt2" and "hd0,msdos2" are "hd0,2": the kind of a partition table changes no number.
std::string plain_device(std::string_view name) {
    const std::size_t comma = name.find(',');
    if (comma == std::string_view::npos) return std::string(name);
    std::size_t number = comma + 1;
    while (number < name.size() && std::isdigit(static_cast<unsigned char>(name[number])) == 0) ++number;
    return std::string(name.substr(0, comma + 1)) + std::string(name.substr(number));
}

}  // namespace

/// "(device)/path", or "/path" on $root.
std::optional<FileReference> GrubMachine::locate(std::string_view path) const {
    std::string device = variable("root");
    if (path.starts_with('(')) {
        const std::size_t close = path.find(')');
        if (close == std::string_view::npos) return std::nullopt;
        device = path.substr(1, close - 1);
        path.remove_prefix(close + 1);
    }
    const std::string wanted = plain_device(device);
    const auto& known = files_.file_systems();
    for (std::size_t i = 0; i < known.size(); ++i) {
        if (known[i].grub_name == wanted)
            return FileReference{i, path.starts_with('/') ? std::string(path) : "/" + std::string(path)};
    }
    return std::nullopt;
}

/// Sets the variable to the first file system that fits; it stays as it was when there is none.
bool GrubMachine::found(std::string_view kind, const std::string& wanted, std::string_view name) {
    const auto& known = files_.file_systems();
    for (std::size_t i = 0; i < known.size(); ++i) {
        const bool fits = kind == "uuid"    ? !wanted.empty() && lower(known[i].uuid) == lower(wanted)
                          : kind == "label" ? !wanted.empty() && known[i].label == wanted
                                            : files_.exists({i, wanted});
        if (!fits) continue;
        assign(name, known[i].grub_name);
        return true;
    }
    return false;
}

bool GrubMachine::search(const Arguments& words) {
    std::string_view kind = "file";
    std::string name = "root";
    bool name_follows = false;
    Arguments others;
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::string& word = words[i];
        if (word == "--fs-uuid" || word == "-u") {
            kind = "uuid";
        } else if (word == "--label" || word == "--fs-label" || word == "-l") {
            kind = "label";
        } else if (word == "--file" || word == "-f") {
            kind = "file";
        } else if (word.starts_with("--set=")) {
            name = word.substr(6);
        } else if (word == "--set" || word == "-s") {
            name_follows = true;
        } else if (word == "--hint") {
            ++i;
        } else if (!word.starts_with("-")) {
            others.push_back(word);
        }
    }
    if (others.empty()) return false;
    if (name_follows && others.size() > 1) name = others.front();
    return found(kind, others.back(), name);
}

bool GrubMachine::search_by_uuid(const Arguments& words) {
    return !words.empty() && found("uuid", words[0], words.size() > 1 ? words[1] : "root");
}
bool GrubMachine::search_by_label(const Arguments& words) {
    return !words.empty() && found("label", words[0], words.size() > 1 ? words[1] : "root");
}
bool GrubMachine::search_by_file(const Arguments& words) {
    return !words.empty() && found("file", words[0], words.size() > 1 ? words[1] : "root");
}

}  // namespace penumbra::loader
