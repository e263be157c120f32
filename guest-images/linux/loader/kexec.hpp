// Starting another kernel in place of the running one.
#pragma once

#include <string>
#include <vector>

#include "guest-images/linux/loader/system.hpp"

namespace penumbra::loader {

/// Loads kernel, initial RAM disk (the parts joined) and command line for jump_to_kernel().
[[nodiscard]] Outcome<> load_kernel(const File& kernel, const std::vector<File>& initrds,
                                    const std::string& command_line);

/// Resets every virtio device, so that none of them writes to memory that is the next kernel's, and jumps. Returns only
/// if that failed.
[[nodiscard]] Outcome<> jump_to_kernel();

}  // namespace penumbra::loader
