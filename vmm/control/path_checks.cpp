#include "vmm/control/path_checks.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>

#include "base/unique_fd.hpp"
#include "vmm/control/size_text.hpp"

namespace penumbra::vmm {

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t payload_limit = 64 * mib;
constexpr std::size_t most_libraries_seen = 100'000;

/// What `path` names, following links; empty when nothing is there. Other failures are errors.
Result<std::optional<struct stat>> status_of(const std::string& act, const std::string& path) {
    struct stat status{};
    if (::stat(path.c_str(), &status) == 0) return status;
    if (errno == ENOENT) return std::nullopt;
    return fail_errno(act, path, "name another path");
}

std::string directory_of(const std::string& path) {
    const std::string parent = fs::path{path}.parent_path().string();
    return parent.empty() ? "." : parent;
}

/// An unnamed file shows that the directory takes new files. Where the file system has none of those, a named one does
/// and goes at once.
Result<> check_directory_takes_files(const std::string& act, const std::string& path, const std::string& directory) {
    UniqueFd probe{::open(directory.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600)};
    if (probe) return {};
    if (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL) {
        std::string name = directory + "/.penumbra-probe.XXXXXX";
        probe.reset(::mkostemp(name.data(), O_CLOEXEC));
        if (probe) {
            ::unlink(name.c_str());
            return {};
        }
    }
    return fail_errno(act, path, "name a path in a directory you can write to");
}

}  // namespace

Result<> check_readable_file(const std::string& act, const std::string& path) {
    // A file is looked at before it is opened: opening a pipe would wait for its writer.
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) {
        return fail_errno(act, path, errno == ENOENT ? "check the path" : "check the path and its permissions");
    }
    if (S_ISDIR(status.st_mode)) return fail(act, path + ": Is a directory", "name a file");
    if (!S_ISREG(status.st_mode)) return fail(act, path + ": not a regular file", "name a regular file");
    if (status.st_size == 0) return fail(act, path + ": the file is empty", "name a file with contents");
    const UniqueFd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!file) return fail_errno(act, path, "make it readable for this user");
    return {};
}

Result<> check_can_create(const std::string& act, const std::string& path) {
    const std::string directory = directory_of(path);
    struct stat status{};
    if (::stat(directory.c_str(), &status) != 0) {
        return fail_errno(act, path, "create the directory " + directory + " or name another path");
    }
    if (!S_ISDIR(status.st_mode))
        return fail(act, path + ": " + directory + " is not a directory", "name another path");
    if (fs::path{path}.filename().empty()) return fail(act, path + ": Is a directory", "name a file in it");
    return check_directory_takes_files(act, path, directory);
}

Result<> check_report_path(const std::string& path) {
    const std::string act = "write the report";
    if (path.empty()) return fail(act, "'': the path is empty", "give --json a file name");
    PENUMBRA_TRY_ASSIGN(const auto status, status_of(act, path));
    if (status && S_ISDIR(status->st_mode)) return fail(act, path + ": Is a directory", "name a file");
    if (status && !S_ISREG(status->st_mode)) return fail(act, path + ": not a regular file", "name a regular file");
    return check_can_create(act, behind_links(path));
}

Result<> check_swap_path(const std::string& path) {
    const std::string act = "swap to";
    if (path.empty()) return fail(act, "file:: the path is empty", "write --swap file:PATH");
    PENUMBRA_TRY_ASSIGN(const auto status, status_of(act, path));
    if (!status) return check_can_create(act, path);
    if (S_ISDIR(status->st_mode)) return fail(act, path + ": Is a directory", "name a file in it");
    if (!S_ISREG(status->st_mode)) return fail(act, path + ": not a regular file", "name a regular file");
    if (status->st_size != 0) {
        return fail(act, path + ": the file has contents, which swapping would destroy", "remove it or name another");
    }
    const UniqueFd file{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
    if (!file) return fail_errno(act, path, "make it writable or name another path");
    return {};
}

Result<> check_socket_path(const std::string& path) {
    const std::string act = "listen on";
    if (path.empty()) return fail(act, "unix:: the path is empty", "write --qmp unix:PATH");
    constexpr std::size_t longest = sizeof(sockaddr_un::sun_path) - 1;
    if (path.size() > longest) {
        return fail(act, path + ": the path is longer than " + std::to_string(longest) + " bytes", "use a shorter one");
    }
    struct stat status{};
    if (::lstat(path.c_str(), &status) == 0) {
        return fail(act, path + ": something is there already", "remove it or name another path");
    }
    return check_can_create(act, path);
}

std::string behind_links(const std::string& path) {
    std::error_code code;
    const fs::path target = fs::canonical(path, code);
    return code ? path : target.string();
}

bool same_file(const std::string& a, const std::string& b) {
    std::error_code ignored;
    if (fs::equivalent(a, b, ignored)) return true;
    const fs::path left = fs::weakly_canonical(fs::absolute(a, ignored), ignored);
    return !left.empty() && left == fs::weakly_canonical(fs::absolute(b, ignored), ignored);
}

std::vector<std::string> system_libraries() {
    struct Library {
        std::uint64_t bytes;
        std::string path;
    };
    std::vector<Library> found;
    for (const char* folder : {"/usr/lib/x86_64-linux-gnu", "/usr/lib"}) {
        std::error_code code;
        for (fs::directory_iterator entry{folder, code}, end;
             !code && entry != end && found.size() < most_libraries_seen; entry.increment(code)) {
            const std::string name = entry->path().filename().string();
            std::error_code ignored;
            if (!name.starts_with("lib") || name.find(".so") == std::string::npos) continue;
            if (entry->symlink_status(ignored).type() != fs::file_type::regular) continue;
            const std::uintmax_t bytes = entry->file_size(ignored);
            if (ignored || bytes == 0 || ::access(entry->path().c_str(), R_OK) != 0) continue;
            found.push_back({bytes, entry->path().string()});
        }
    }
    std::ranges::sort(found, [](const Library& a, const Library& b) {
        return a.bytes != b.bytes ? a.bytes > b.bytes : a.path < b.path;
    });
    std::vector<std::string> chosen;
    std::uint64_t total = 0;
    for (const Library& library : found) {
        if (library.bytes > payload_limit - total) continue;
        total += library.bytes;
        chosen.push_back(library.path);
    }
    return chosen;
}

}  // namespace penumbra::vmm
