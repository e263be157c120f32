#include <array>
#include <utility>

#include "guest-images/linux/loader/boot_loader_entries.hpp"
#include "guest-images/linux/loader/grub_machine.hpp"
#include "guest-images/linux/loader/grub_test.hpp"

namespace penumbra::loader {

GrubMachine::Handler GrubMachine::handler(std::string_view name) {
    static constexpr std::array<std::pair<std::string_view, Handler>, 28> commands{{
        {"set", &GrubMachine::set},
        {"unset", &GrubMachine::unset},
        {"[", &GrubMachine::test},
        {"test", &GrubMachine::test},
        {"false", &GrubMachine::no},
        {"loadfont", &GrubMachine::no},
        {"keystatus", &GrubMachine::no},
        {"regexp", &GrubMachine::no},
        {"cmp", &GrubMachine::no},
        {"return", &GrubMachine::leave},
        {"exit", &GrubMachine::leave},
        {"linux", &GrubMachine::linux_kernel},
        {"linux16", &GrubMachine::linux_kernel},
        {"linuxefi", &GrubMachine::linux_kernel},
        {"initrd", &GrubMachine::initrd},
        {"initrd16", &GrubMachine::initrd},
        {"initrdefi", &GrubMachine::initrd},
        {"source", &GrubMachine::source},
        {".", &GrubMachine::source},
        {"configfile", &GrubMachine::source},
        {"normal", &GrubMachine::source},
        {"load_env", &GrubMachine::load_environment},
        {"loadenv", &GrubMachine::load_environment},
        {"blscfg", &GrubMachine::boot_loader_entries},
        {"search", &GrubMachine::search},
        {"search.fs_uuid", &GrubMachine::search_by_uuid},
        {"search.fs_label", &GrubMachine::search_by_label},
        {"search.file", &GrubMachine::search_by_file},
    }};
    for (const auto& [known, command] : commands) {
        if (known == name) return command;
    }
    return nullptr;
}

bool GrubMachine::set(const Arguments& words) {
    if (words.empty()) return true;
    const std::string_view word = words.front();
    const std::size_t equals = word.find('=');
    if (equals == std::string_view::npos || equals == 0) return true;
    assign(word.substr(0, equals), word.substr(equals + 1));
    return true;
}

bool GrubMachine::unset(const Arguments& words) {
    for (const std::string& name : words) variables_.erase(name);
    return true;
}

bool GrubMachine::test(const Arguments& words) {
    Arguments expression = words;
    if (!expression.empty() && expression.back() == "]") expression.pop_back();
    return grub_test(expression, [this](std::string_view path, FileTest what) {
        const auto file = locate(path);
        if (!file) return false;
        if (what == FileTest::folder) return !files_.list(*file, 1).empty();
        if (what == FileTest::exists) return files_.exists(*file);
        const auto text = read(*file);
        return text && !text->empty();
    });
}

bool GrubMachine::no(const Arguments& /*words*/) { return false; }

bool GrubMachine::leave(const Arguments& /*words*/) { return leaving_ = true; }

bool GrubMachine::add_menu_line(const Arguments& words, const Block& body) {
    const bool submenu = words.front() == "submenu";
    if (!submenu && words.front() != "menuentry") return true;
    if (++line_count_ > menu_limit) return give_up("has more than 1000 menu lines"), false;
    MenuItem line;
    bool titled = false;
    for (std::size_t i = 1; i < words.size(); ++i) {
        const std::string& word = words[i];
        if (word == "--id" && i + 1 < words.size()) {
            line.id = words[++i];
        } else if (word.starts_with("--id=")) {
            line.id = word.substr(5);
        } else if (word == "--class" || word == "--users" || word == "--hotkey" || word == "--source") {
            ++i;
        } else if (!word.starts_with("--") && !std::exchange(titled, true)) {
            line.title = word;
        }
    }
    if (submenu) {
        const auto before = variables_;
        std::vector<MenuItem>* const outer = std::exchange(lines_, &line.children);
        call(body);
        lines_ = outer;
        variables_ = before;
    } else {
        line.body = &body;
    }
    lines_->push_back(std::move(line));
    return true;
}

bool GrubMachine::linux_kernel(const Arguments& words) {
    kernel_ = words.empty() ? std::nullopt : locate(words.front());
    command_line_.clear();
    initrds_.clear();
    for (std::size_t i = 1; i < words.size(); ++i) {
        if (i > 1) command_line_ += ' ';
        const bool blanks = words[i].contains(' ');
        command_line_ += blanks ? "\"" + words[i] + "\"" : words[i];
    }
    return kernel_.has_value();
}

bool GrubMachine::initrd(const Arguments& words) {
    constexpr std::size_t most = 16;
    initrds_.clear();
    for (const std::string& word : words) {
        if (const auto file = locate(word); file && initrds_.size() < most) initrds_.push_back(*file);
    }
    return true;
}

bool GrubMachine::source(const Arguments& words) {
    const auto file = words.empty() ? std::nullopt : locate(words.front());
    const auto text = file ? read(*file) : std::nullopt;
    if (!text) return false;
    const auto block = keep(*text);
    if (!block) return give_up(words.front() + ": " + block.error()), false;
    return call(**block);
}

/// `next_entry` is left out: it is meant for one start only, and nothing here can take it back.
bool GrubMachine::load_environment(const Arguments& words) {
    std::string path = variable("prefix") + "/grubenv";
    std::vector<std::string_view> listed;
    for (std::size_t i = 0; i < words.size(); ++i) {
        if ((words[i] == "-f" || words[i] == "--file") && i + 1 < words.size()) {
            path = words[++i];
        } else if (words[i].starts_with("--file=")) {
            path = words[i].substr(7);
        } else if (!words[i].starts_with("-")) {
            listed.push_back(words[i]);
        }
    }
    const auto file = locate(path);
    const auto text = file ? read(*file) : std::nullopt;
    if (!text) return false;
    for (const auto& [name, value] : parse_environment_block(*text)) {
        bool wanted = listed.empty();
        for (const std::string_view one : listed) wanted |= one == name;
        if (wanted && name != "next_entry") assign(name, value);
    }
    return true;
}

bool GrubMachine::boot_loader_entries(const Arguments& /*words*/) {
    for (const char* folder : {"/loader/entries", "/boot/loader/entries"}) {
        const auto place = locate(folder);
        if (!place || !charge(file_limit)) continue;
        for (const BootLoaderEntry& entry : read_boot_loader_entries(files_, *place)) {
            if (++line_count_ > menu_limit) return give_up("has more than 1000 menu lines"), false;
            const auto body = keep(entry.as_grub_script());
            if (body) lines_->push_back({entry.title, entry.id, *body, {}});
        }
        if (!lines_->empty()) return true;
    }
    return false;
}

}  // namespace penumbra::loader
