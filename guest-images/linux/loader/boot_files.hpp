// What the boot configuration reader sees of a machine's disks: file systems by number, and the files in them.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace penumbra::loader {

/// One file system. `grub_name` is GRUB's name without the partition table's kind: "hd0,1", or "hd0" for a whole disk.
struct FileSystem {
    std::string grub_name;
    std::string linux_name;  ///< "vda1"
    std::string uuid;
    std::string label;
};

/// A file: which file system, and an absolute path in it.
struct FileReference {
    std::size_t file_system = 0;
    std::string path;

    bool operator==(const FileReference&) const = default;
};

/// Implemented over mounted disks, and over maps in tests. Paths are those of a hostile disk: an implementation must
/// not let them leave their file system.
class BootFiles {
public:
    BootFiles() = default;
    BootFiles(const BootFiles&) = delete;
    BootFiles& operator=(const BootFiles&) = delete;
    BootFiles(BootFiles&&) = default;
    BootFiles& operator=(BootFiles&&) = default;
    virtual ~BootFiles() = default;

    [[nodiscard]] virtual const std::vector<FileSystem>& file_systems() const = 0;
    /// The contents of a regular file of at most `limit` bytes, or nothing.
    [[nodiscard]] virtual std::optional<std::string> read(const FileReference& file, std::size_t limit) const = 0;
    [[nodiscard]] virtual bool exists(const FileReference& file) const = 0;
    /// The names in a folder, at most `limit`, in any order; none if it is no folder.
    [[nodiscard]] virtual std::vector<std::string> list(const FileReference& folder, std::size_t limit) const = 0;
};

}  // namespace penumbra::loader
