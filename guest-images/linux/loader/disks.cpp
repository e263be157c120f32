#include "guest-images/linux/loader/disks.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <span>

#include "guest-images/linux/loader/superblock.hpp"

namespace penumbra::loader {
namespace {

/// Read-only mounts replay journals, and so write, unless told not to. GRUB reads disks without replaying, too.
const char* mount_options(const std::string& driver) {
    if (driver == "ext4") return "noload";
    if (driver == "xfs") return "norecovery";
    if (driver == "btrfs") return "rescue=nologreplay";
    return "";
}

std::vector<std::string> names_in(int folder, std::size_t limit) {
    std::vector<std::string> names;
    const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(::dup(folder)), ::closedir);
    while (entries && names.size() < limit) {
        const dirent* entry = ::readdir(entries.get());
        if (entry == nullptr) break;
        const std::string name = entry->d_name;
        if (name != "." && name != "..") names.push_back(name);
    }
    std::ranges::sort(names);
    return names;
}

File open_inside(int root, const std::string& path, unsigned long long flags) {
    open_how how{};
    how.flags = flags | O_RDONLY | O_CLOEXEC | O_NONBLOCK;
    how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    return File(static_cast<int>(::syscall(SYS_openat2, root, path.c_str(), &how, sizeof(how))));
}

std::optional<Superblock> superblock_of(const std::string& device) {
    const File file(::open(device.c_str(), O_RDONLY | O_CLOEXEC));
    std::vector<std::byte> start(superblock_bytes);
    std::size_t have = 0;
    while (file && have < start.size()) {
        const ssize_t got = ::pread(file.get(), start.data() + have, start.size() - have, static_cast<off_t>(have));
        if (got <= 0) return std::nullopt;
        have += static_cast<std::size_t>(got);
    }
    return file ? read_superblock(start) : std::nullopt;
}

std::string letters_of(const std::string& name) { return name.substr(0, name.find_first_of("0123456789")); }

}  // namespace

Outcome<MountedDisks> MountedDisks::mount_all() {
    constexpr std::size_t most = 256;
    const std::string blocks = "/sys/class/block";
    const File folder(::open(blocks.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder) return failed("open " + blocks);
    ::mkdir("/disks", 0700);
    MountedDisks made;
    std::map<std::string, std::size_t> disks;  // "vda" is GRUB's hd0
    std::vector<std::string> whole;
    std::vector<std::string> parts;
    for (const std::string& name : names_in(folder.get(), most)) {
        if (!name.starts_with("vd") && !name.starts_with("sd")) continue;
        const bool part = !small_file(blocks + "/" + name + "/partition").empty();
        if (!part) disks.emplace(name, disks.size());
        (part ? parts : whole).push_back(name);
    }
    for (const std::string& name : whole) {
        const bool divided = std::ranges::any_of(parts, [&](const auto& part) { return letters_of(part) == name; });
        if (!divided) made.mount_one(name, "hd" + std::to_string(disks[name]));
    }
    for (const std::string& name : parts) {
        const std::string number = small_file(blocks + "/" + name + "/partition");
        made.mount_one(name, "hd" + std::to_string(disks[letters_of(name)]) + "," + number);
    }
    if (made.seen_.empty()) return std::unexpected("there is no disk");
    if (made.systems_.empty()) return std::unexpected("no file system could be mounted: " + made.seen_);
    return made;
}

void MountedDisks::mount_one(const std::string& name, const std::string& grub_name) {
    const std::string device = "/dev/" + name;
    const std::string place = "/disks/" + name;
    seen_ += (seen_.empty() ? "" : ", ") + name;
    const auto superblock = superblock_of(device);
    if (!superblock) {
        seen_ += " (neither ext4, xfs, btrfs nor FAT)";
        return;
    }
    seen_ += " (" + superblock->driver;
    ::mkdir(place.c_str(), 0700);
    const auto loaded = load_modules("order-" + superblock->driver);
    const int mounted = loaded
                            ? ::mount(device.c_str(), place.c_str(), superblock->driver.c_str(),
                                      MS_RDONLY | MS_NODEV | MS_NOSUID | MS_NOEXEC, mount_options(superblock->driver))
                            : -1;
    if (mounted != 0) {
        seen_ += ": " + (loaded ? failed("mount it").error() : loaded.error()) + ")";
        return;
    }
    seen_ += ")";
    roots_.emplace_back(::open(place.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    systems_.push_back({grub_name, name, superblock->uuid, superblock->label});
}

File MountedDisks::open(const FileReference& file) const {
    File opened = open_inside(roots_[file.file_system].get(), file.path, 0);
    struct stat status{};
    if (!opened || ::fstat(opened.get(), &status) != 0 || !S_ISREG(status.st_mode)) return File();
    return opened;
}

std::optional<std::string> MountedDisks::read(const FileReference& file, std::size_t limit) const {
    const File opened = open(file);
    std::string text;
    std::array<char, 16384> piece{};
    while (opened) {
        const ssize_t got = ::read(opened.get(), piece.data(), piece.size());
        if (got < 0 || text.size() + static_cast<std::size_t>(got) > limit) return std::nullopt;
        if (got == 0) return text;
        text.append(piece.data(), static_cast<std::size_t>(got));
    }
    return std::nullopt;
}

bool MountedDisks::exists(const FileReference& file) const { return static_cast<bool>(open(file)); }

std::vector<std::string> MountedDisks::list(const FileReference& folder, std::size_t limit) const {
    const File opened = open_inside(roots_[folder.file_system].get(), folder.path, O_DIRECTORY);
    return opened ? names_in(opened.get(), limit) : std::vector<std::string>{};
}

void MountedDisks::unmount() {
    roots_.clear();
    for (const FileSystem& system : systems_) ::umount2(("/disks/" + system.linux_name).c_str(), 0);
    systems_.clear();
}

}  // namespace penumbra::loader
