// The machine's disks: finds their file systems, mounts them without writing a byte, and reads their files.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "guest-images/linux/loader/boot_files.hpp"
#include "guest-images/linux/loader/system.hpp"

namespace penumbra::loader {

class MountedDisks : public BootFiles {
public:
    /// Mounts all file systems that it knows, each below /disks. Needs /dev and /sys.
    [[nodiscard]] static Outcome<MountedDisks> mount_all();
    MountedDisks() = default;
    MountedDisks(MountedDisks&&) noexcept = default;
    MountedDisks& operator=(MountedDisks&&) noexcept = default;

    [[nodiscard]] const std::vector<FileSystem>& file_systems() const override { return systems_; }
    [[nodiscard]] std::optional<std::string> read(const FileReference& file, std::size_t limit) const override;
    [[nodiscard]] bool exists(const FileReference& file) const override;
    [[nodiscard]] std::vector<std::string> list(const FileReference& folder, std::size_t limit) const override;

    /// A regular file for reading. Its path is resolved inside its file system, symbolic links too.
    [[nodiscard]] File open(const FileReference& file) const;
    /// What there was, for messages: "vda1 (ext4), vda2 (nothing known)".
    [[nodiscard]] const std::string& seen() const { return seen_; }
    /// Lets go of the disks.
    void unmount();

private:
    void mount_one(const std::string& name, const std::string& grub_name);

    std::vector<FileSystem> systems_;
    std::vector<File> roots_;
    std::string seen_;
};

}  // namespace penumbra::loader
