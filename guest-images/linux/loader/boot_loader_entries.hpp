// Entries of the boot loader specification (uapi-group.org, type 1), and GRUB's environment block.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "guest-images/linux/loader/boot_files.hpp"

namespace penumbra::loader {

/// One loader/entries/ID.conf. Paths are absolute in the file system of the entry.
struct BootLoaderEntry {
    std::string id;
    std::string title;
    std::string version;
    std::string sort_key;
    std::string kernel;
    std::vector<std::string> initrds;
    std::string options;

    /// As GRUB's own `blscfg` sees it: commands, in which variables such as $kernelopts still stand.
    [[nodiscard]] std::string as_grub_script() const;
};

/// Without a kernel it is no entry for Linux: kernel is then empty.
[[nodiscard]] BootLoaderEntry parse_boot_loader_entry(std::string_view id, std::string_view text);

/// The entries for Linux in a folder, the newest version first; at most 256 are read.
[[nodiscard]] std::vector<BootLoaderEntry> read_boot_loader_entries(const BootFiles& files,
                                                                    const FileReference& folder);

/// The value of `default` in loader.conf, or empty.
[[nodiscard]] std::string default_of_loader_conf(std::string_view text);

/// NAME=VALUE lines of a grubenv file, in which a backslash quotes the next character.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> parse_environment_block(std::string_view text);

}  // namespace penumbra::loader
