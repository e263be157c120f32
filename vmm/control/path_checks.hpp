// Checks of the paths a user names. Each opens or asks, and leaves the file system as it was.
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"

namespace penumbra::vmm {

/// `path` is a regular file with contents that this process may read. `act` starts the error: "read the image".
[[nodiscard]] Result<> check_readable_file(const std::string& act, const std::string& path);

/// A file can be made at `path`: its directory exists, is writable, and is on a writable file system.
[[nodiscard]] Result<> check_can_create(const std::string& act, const std::string& path);

/// `path` can become the report: as check_can_create(), and what is there now, if anything, is a regular file.
[[nodiscard]] Result<> check_report_path(const std::string& path);

/// `path` can become the swap file: as check_can_create(), and what is there now, if anything, is an empty regular
/// file. A file with contents is refused, because swapping would destroy them.
[[nodiscard]] Result<> check_swap_path(const std::string& path);

/// `path` can become a listening Unix socket: short enough, free, in a writable directory.
[[nodiscard]] Result<> check_socket_path(const std::string& path);

/// Where a link at `path` leads; `path` itself when it is none, or leads nowhere.
[[nodiscard]] std::string behind_links(const std::string& path);

/// Both names lead to the same file, existing or not.
[[nodiscard]] bool same_file(const std::string& a, const std::string& b);

/// The machine's largest shared libraries, up to 64 MiB together: real contents for guest memory. Largest first.
[[nodiscard]] std::vector<std::string> system_libraries();

}  // namespace penumbra::vmm
