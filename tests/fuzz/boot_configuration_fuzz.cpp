// Feeds hostile disks to the boot configuration reader. The first byte says which kernels there are and where the GRUB
// script lies. The rest is cut at bytes 0xFF into: that script, its grubenv, two loader/entries files, loader.conf, a
// file that a script may source, /etc/kernel/cmdline, /etc/fstab. Properties: it ends, and what it names exists. The
// seeds come from boot_seeds.py.
//
// covers: guest-images/linux/loader/boot_*.cpp guest-images/linux/loader/grub_*.cpp
// covers: guest-images/linux/loader/plain_kernels.cpp guest-images/linux/loader/superblock.cpp
// covers: guest-images/linux/loader/version_order.cpp
// leaves: guest-images/linux/loader/disks.cpp: mounts the disks, by system calls
// leaves: guest-images/linux/loader/kexec.cpp: hands the kernel's file to kexec_file_load
// leaves: guest-images/linux/loader/main.cpp: the order of the steps
// leaves: guest-images/linux/loader/system.cpp: the loader's own console and end
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "guest-images/linux/loader/boot_configuration.hpp"
#include "guest-images/linux/loader/superblock.hpp"
#include "guest-images/linux/loader/version_order.hpp"

namespace {

using penumbra::loader::FileReference;

class FuzzFiles : public penumbra::loader::BootFiles {
public:
    explicit FuzzFiles(std::string_view input) {
        const unsigned choice = input.empty() ? 0 : static_cast<unsigned char>(input.front());
        input.remove_prefix(std::min<std::size_t>(input.size(), 1));
        constexpr std::array folders{"/boot/grub", "/grub2", "/EFI/vendor", "/boot/efi/EFI/vendor"};
        const std::string folder = folders[choice % folders.size()];
        const std::array<std::string, 8> names{folder + "/grub.cfg",       folder + "/grubenv",
                                               "/loader/entries/a-1.conf", "/boot/loader/entries/b-2.conf",
                                               "/loader/loader.conf",      "/more",
                                               "/etc/kernel/cmdline",      "/etc/fstab"};
        for (const std::string& name : names) {
            const std::size_t end = std::min(input.find('\xff'), input.size());
            if (end > 0) files_[name] = input.substr(0, end);
            input.remove_prefix(std::min(end + 1, input.size()));
        }
        const unsigned kernels = choice / folders.size() % 4;
        if (kernels == 3) return;
        files_["/k"] = "kernel";
        if (kernels == 2) return;
        for (const char* kernel : {"/boot/vmlinuz-1", "/boot/vmlinuz-2"}) files_[kernel] = "kernel";
        if (kernels == 1) files_["/boot/initrd.img-2"] = files_["/vmlinuz-10"] = files_["/initramfs-10.img"] = "file";
    }
    const std::vector<penumbra::loader::FileSystem>& file_systems() const override { return systems_; }
    std::optional<std::string> read(const FileReference& file, std::size_t limit) const override {
        const auto at = files_.find(file.path);
        if (file.file_system != 0 || at == files_.end() || at->second.size() > limit) return std::nullopt;
        return at->second;
    }
    bool exists(const FileReference& file) const override {
        return file.file_system == 0 && files_.contains(file.path);
    }
    std::vector<std::string> list(const FileReference& folder, std::size_t limit) const override {
        const std::string start = folder.path.ends_with('/') ? folder.path : folder.path + "/";
        std::set<std::string> names;
        for (const auto& [path, text] : files_) {
            if (folder.file_system != 0 || !path.starts_with(start) || names.size() >= limit) continue;
            names.insert(path.substr(start.size(), path.find('/', start.size()) - start.size()));
        }
        return {names.begin(), names.end()};
    }

private:
    std::vector<penumbra::loader::FileSystem> systems_{{"hd0,1", "vda1", "1234-abcd", "root"}, {"hd1", "vdb", "", ""}};
    std::map<std::string, std::string, std::less<>> files_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const FuzzFiles files(text);
    const auto entry = penumbra::loader::read_boot_configuration(files);
    if (entry && !files.exists(entry->kernel)) std::abort();
    if (!entry && entry.error().empty()) std::abort();

    const std::string_view left = text.substr(0, size / 2);
    const std::string_view right = text.substr(size / 2);
    const auto order = penumbra::loader::compare_versions(left, right);
    if (penumbra::loader::compare_versions(right, left) != 0 <=> order) std::abort();

    static_cast<void>(penumbra::loader::read_superblock(std::as_bytes(std::span(text))));
    std::string device(text);
    device.resize(penumbra::loader::superblock_bytes);
    std::copy_n(text.begin(), std::min(size, std::size_t{4096}), device.end() - 4096);
    static_cast<void>(penumbra::loader::read_superblock(std::as_bytes(std::span(device))));
    return 0;
}
