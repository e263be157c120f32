// Kernels that lie in /boot without a configuration.
#pragma once

#include <optional>

#include "guest-images/linux/loader/boot_configuration.hpp"

namespace penumbra::loader {

/// The newest vmlinuz-VERSION of all file systems, with the initial RAM disk of that version. Its command line is
/// /etc/kernel/cmdline, or root= the file system that holds /etc.
[[nodiscard]] std::optional<BootEntry> newest_plain_kernel(const BootFiles& files);

}  // namespace penumbra::loader
