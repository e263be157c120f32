#include "guest-images/linux/loader/boot_configuration.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "guest-images/linux/loader/boot_loader_entries.hpp"
#include "guest-images/linux/loader/grub_machine.hpp"
#include "guest-images/linux/loader/grub_menu.hpp"
#include "guest-images/linux/loader/plain_kernels.hpp"
#include "guest-images/linux/loader/version_order.hpp"

namespace penumbra::loader {
namespace {

using Answer = std::expected<BootEntry, std::string>;

std::string file_name(std::string_view path) { return std::string(path.substr(path.rfind('/') + 1)); }

Answer existing(const BootFiles& files, Answer entry) {
    if (entry && !files.exists(entry->kernel)) {
        return std::unexpected("\"" + entry->title + "\" names " + entry->kernel.path + ", which is not there");
    }
    return entry;
}

/// The default entry if its kernel exists, else the newest of the others.
Answer choose(const BootFiles& files, GrubMachine& machine, std::string_view preferred) {
    constexpr std::size_t most = 64;
    const MenuItem* const entry = find_entry(machine.menu(), preferred);
    Answer answer = entry != nullptr ? existing(files, machine.boot(*entry))
                                     : Answer(std::unexpected("has no menu entry \"" + std::string(preferred) + "\""));
    if (answer) return answer;
    std::vector<BootEntry> others;
    for (const MenuItem* other : all_entries(machine.menu(), most)) {
        if (auto made = existing(files, machine.boot(*other))) others.push_back(std::move(*made));
    }
    const auto newest = std::ranges::max_element(others, [](const BootEntry& left, const BootEntry& right) {
        return compare_versions(file_name(left.kernel.path), file_name(right.kernel.path)) < 0;
    });
    return newest == others.end() ? answer : Answer(std::move(*newest));
}

Answer from_grub(const BootFiles& files, const FileReference& script) {
    const std::string prefix = script.path.substr(0, script.path.rfind('/'));
    GrubMachine machine(files, script.file_system, prefix);
    const auto ran = machine.run_file(script);
    if (!ran && machine.menu().empty()) return std::unexpected(ran.error());
    Answer answer = choose(files, machine, machine.variable("default"));
    if (!answer) answer = std::unexpected(script.path + ": " + answer.error());
    return answer;
}

/// loader/entries without a GRUB script: systemd-boot, or a GRUB whose script is elsewhere.
Answer from_entries(const BootFiles& files, std::size_t file_system) {
    GrubMachine machine(files, file_system, "/boot/grub2");
    constexpr std::string_view script = "load_env -f /boot/grub2/grubenv; load_env -f /grub2/grubenv; blscfg";
    if (const auto ran = machine.run_text(script); !ran) return std::unexpected(ran.error());
    if (machine.menu().empty()) return std::unexpected("no entries");
    std::string preferred = machine.variable("saved_entry");
    for (const char* path : {"/loader/loader.conf", "/boot/loader/loader.conf"}) {
        const auto text = files.read({file_system, path}, GrubMachine::file_limit);
        const std::string pattern = text ? default_of_loader_conf(*text) : std::string{};
        if (const MenuItem* found = match_entry(machine.menu(), pattern); found != nullptr) preferred = found->id;
    }
    return choose(files, machine, preferred);
}

std::vector<std::string> grub_scripts(const BootFiles& files, std::size_t file_system) {
    std::vector<std::string> paths{"/boot/grub/grub.cfg", "/grub/grub.cfg", "/boot/grub2/grub.cfg", "/grub2/grub.cfg"};
    constexpr std::size_t vendors = 32;
    for (const char* folder : {"/EFI", "/boot/efi/EFI"}) {
        for (const std::string& vendor : files.list({file_system, folder}, vendors)) {
            paths.push_back(std::string(folder) + "/" + vendor + "/grub.cfg");
        }
    }
    return paths;
}

}  // namespace

std::expected<BootEntry, std::string> read_boot_configuration(const BootFiles& files) {
    std::string complaints;
    const auto take = [&](std::size_t i, Answer answer) -> std::optional<BootEntry> {
        if (answer) return std::move(*answer);
        complaints += (complaints.empty() ? "" : "; ") + files.file_systems()[i].linux_name + ": " + answer.error();
        return std::nullopt;
    };
    const std::size_t count = files.file_systems().size();
    for (std::size_t i = 0; i < count; ++i) {
        for (const std::string& path : grub_scripts(files, i)) {
            if (!files.exists({i, path})) continue;
            if (auto entry = take(i, from_grub(files, {i, path}))) return *entry;
        }
    }
    for (std::size_t i = 0; i < count; ++i) {
        const bool there =
            !files.list({i, "/loader/entries"}, 1).empty() || !files.list({i, "/boot/loader/entries"}, 1).empty();
        if (!there) continue;
        if (auto entry = take(i, from_entries(files, i))) return *entry;
    }
    if (auto entry = newest_plain_kernel(files)) return *entry;
    if (complaints.empty()) complaints = "no grub.cfg, no loader/entries, no /boot/vmlinuz-VERSION";
    return std::unexpected(complaints);
}

}  // namespace penumbra::loader
