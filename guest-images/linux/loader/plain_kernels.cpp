#include "guest-images/linux/loader/plain_kernels.hpp"

#include <cstddef>
#include <string>
#include <string_view>

#include "guest-images/linux/loader/version_order.hpp"

namespace penumbra::loader {
namespace {

constexpr std::string_view kernel_prefix = "vmlinuz-";

std::string command_line(const BootFiles& files, std::size_t kernel_at) {
    std::size_t root = kernel_at;
    for (std::size_t i = 0; i < files.file_systems().size(); ++i) {
        if (auto text = files.read({i, "/etc/kernel/cmdline"}, 4096)) {
            for (char& c : *text) c = c == '\n' ? ' ' : c;
            return *text;
        }
        if (files.exists({i, "/etc/fstab"})) root = i;
    }
    return "root=/dev/" + files.file_systems()[root].linux_name + " ro";
}

}  // namespace

std::optional<BootEntry> newest_plain_kernel(const BootFiles& files) {
    constexpr std::size_t most = 256;
    std::optional<BootEntry> newest;
    std::string newest_version;
    for (std::size_t i = 0; i < files.file_systems().size(); ++i) {
        for (const std::string folder : {"/boot", ""}) {
            for (const std::string& name : files.list({i, folder.empty() ? "/" : folder}, most)) {
                if (!name.starts_with(kernel_prefix)) continue;
                const std::string version = name.substr(kernel_prefix.size());
                if (newest && compare_versions(version, newest_version) <= 0) continue;
                newest = BootEntry{name, {i, folder + "/" + name}, {}, {}};
                newest_version = version;
                for (const std::string& initrd : {"initrd.img-" + version, "initramfs-" + version + ".img"}) {
                    const FileReference file{i, folder + "/" + initrd};
                    if (newest->initrds.empty() && files.exists(file)) newest->initrds.push_back(file);
                }
            }
        }
    }
    if (newest) newest->command_line = command_line(files, newest->kernel.file_system);
    return newest;
}

}  // namespace penumbra::loader
