// Reads a disk's own boot configuration (GRUB's script or boot loader specification entries) and says which kernel the
// disk wants started. Everything read comes from the disk and is hostile: work, nesting and sizes are bounded.
#pragma once

#include <expected>
#include <string>
#include <vector>

#include "guest-images/linux/loader/boot_files.hpp"

namespace penumbra::loader {

/// What to start: the kernel, the parts of its initial RAM disk in order, its command line.
struct BootEntry {
    std::string title;
    FileReference kernel;
    std::vector<FileReference> initrds;
    std::string command_line;
};

/// The default entry of the first configuration that names a kernel which exists; where the default does not, the entry
/// with the newest kernel. Order of places: GRUB's grub.cfg, then loader/entries, then /boot/vmlinuz-VERSION itself.
/// `next_entry` (grub-reboot) is not honoured: nothing here can clear it. The error is one line that says what was
/// looked at.
[[nodiscard]] std::expected<BootEntry, std::string> read_boot_configuration(const BootFiles& files);

}  // namespace penumbra::loader
