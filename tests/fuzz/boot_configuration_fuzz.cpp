// Feeds hostile disks to the boot configuration reader. The input is cut at
// bytes 0xFF into: /boot/grub/grub.cfg, /boot/grub/grubenv, one loader/entries
// file, loader.conf, a file that a script may source. Properties: it ends, and
// what it names exists.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <map>
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
        constexpr std::array names{"/boot/grub/grub.cfg", "/boot/grub/grubenv", "/loader/entries/a-1.conf",
                                   "/loader/loader.conf", "/more"};
        for (const char* name : names) {
            const std::size_t end = std::min(input.find('\xff'), input.size());
            if (end > 0) files_[name] = input.substr(0, end);
            input.remove_prefix(std::min(end + 1, input.size()));
        }
        for (const char* kernel : {"/boot/vmlinuz-1", "/boot/vmlinuz-2", "/k"}) files_[kernel] = "kernel";
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
        std::vector<std::string> names;
        for (const auto& [path, text] : files_) {
            const std::size_t slash = path.rfind('/');
            if (path.substr(0, slash) == folder.path && names.size() < limit) names.push_back(path.substr(slash + 1));
        }
        return names;
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

    std::string device(text);
    device.resize(penumbra::loader::superblock_bytes);
    std::copy_n(text.begin(), std::min(size, std::size_t{4096}), device.end() - 4096);
    static_cast<void>(penumbra::loader::read_superblock(std::as_bytes(std::span(device))));
    return 0;
}
