#include "vmm/control/linux_options.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>

#include "vmm/boot/platform_map.hpp"
#include "vmm/control/path_checks.hpp"

namespace penumbra::vmm {

namespace {

std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> words;
    std::istringstream stream(text);
    for (std::string word; std::getline(stream, word, ',');) words.push_back(word);
    if (text.empty() || text.ends_with(',')) words.emplace_back();
    return words;
}

std::unexpected<Error> unknown(std::string_view option, const std::string& text, const std::string& word,
                               std::string known) {
    return fail("use", fmt::format("{} '{}': unknown '{}'", option, text, word), "the known words are " + known);
}

/// Beside the program, as in a build folder, or where a package puts it.
std::string installed_loader() {
    std::error_code none;
    const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", none);
    const std::filesystem::path beside = program.parent_path() / "loader";
    return std::filesystem::is_directory(beside, none) ? beside.string() : "/usr/share/penumbra/loader";
}

}  // namespace

Result<DiskChoice> parse_disk(const std::string& text) {
    const std::vector<std::string> words = split(text);
    DiskChoice choice;
    choice.disk.path = words.front();
    if (choice.disk.path.empty()) {
        return fail("use", fmt::format("--disk '{}': the path is empty", text), "write --disk PATH");
    }
    for (std::size_t i = 1; i < words.size(); ++i) {
        if (words[i] == "readonly") {
            choice.disk.access = DiskAccess::read_only;
        } else if (words[i] == "direct") {
            choice.disk.caching = DiskCaching::direct;
        } else if (words[i] == "mmio") {
            choice.bus = VirtioBus::mmio;
        } else {
            return unknown("--disk", text, words[i],
                           "readonly, direct and mmio; a path with a comma needs a link without one");
        }
    }
    return choice;
}

Result<NetChoice> parse_net(const std::string& text) {
    const std::vector<std::string> words = split(text);
    NetChoice choice;
    std::string others = words.front();
    for (std::size_t i = 1; i < words.size(); ++i) {
        if (words[i] == "mmio") {
            choice.bus = VirtioBus::mmio;
        } else {
            others += "," + words[i];
        }
    }
    PENUMBRA_TRY_ASSIGN(choice.net, parse_net_options(others));
    return choice;
}

Result<> complete_linux(LinuxOptions& options) {
    if (!options.kernel.empty()) return {};
    if (!options.initrd.empty()) {
        return fail("use", "--initrd without --kernel",
                    "add --kernel FILE, or let the disk's own kernel bring its own");
    }
    const std::string folder = options.loader.empty() ? installed_loader() : options.loader;
    std::ifstream file(folder + "/cmdline");
    std::string line;
    if (!std::getline(file, line)) {
        return fail("start the disk's own kernel", folder + ": it holds no loader",
                    "make one (guest-images/linux/make loader) and name its folder by --loader, or give --kernel FILE");
    }
    options.kernel = folder + "/vmlinuz";
    options.initrd = folder + "/initrd";
    options.append = options.append.empty() ? line : line + " -- " + options.append;
    return {};
}

Result<> check_linux(const LinuxOptions& options) {
    PENUMBRA_TRY(check_readable_file("read the kernel", options.kernel));
    if (!options.initrd.empty()) PENUMBRA_TRY(check_readable_file("read the initrd", options.initrd));
    if (options.append.find('\0') != std::string::npos || options.append.find('\n') != std::string::npos) {
        return fail("use", "--append: the command line holds a line feed or a zero byte", "give one line of text");
    }
    std::size_t on_mmio = 0;
    for (const DiskChoice& disk : options.disks) on_mmio += disk.bus == VirtioBus::mmio ? 1 : 0;
    for (const NetChoice& net : options.nets) on_mmio += net.bus == VirtioBus::mmio ? 1 : 0;
    const std::size_t all = options.disks.size() + options.nets.size() + (options.virtio_console ? 1 : 0);
    constexpr std::size_t slots = platform::pci_devices_per_bus - 1;  // the first is the host bridge's
    if (on_mmio > platform::max_virtio_mmio_devices || all - on_mmio > slots) {
        return fail("add",
                    fmt::format("{} devices: a machine has room for {} on PCI and {} on MMIO", all, slots,
                                platform::max_virtio_mmio_devices),
                    "give fewer --disk and --net");
    }
    return {};
}

}  // namespace penumbra::vmm
