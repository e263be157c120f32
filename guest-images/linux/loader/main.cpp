// The first process of the loader: finds the disk's own newest kernel and starts it by kexec. Words after `--` on its
// kernel's command line are added to the next kernel's.
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "guest-images/linux/loader/boot_configuration.hpp"
#include "guest-images/linux/loader/disks.hpp"
#include "guest-images/linux/loader/kexec.hpp"

namespace penumbra::loader {
namespace {

void say(const std::string& line) {
    std::printf("penumbra: loader: %s\n", line.c_str());
    std::fflush(stdout);
}

bool has_console(const std::string& command_line) {
    return (" " + command_line).find(" console=") != std::string::npos;
}

Outcome<> start(const std::string& extra) {
    for (const char* folder : {"/dev", "/sys"}) ::mkdir(folder, 0755);
    // The console needs no /dev: the kernel opened it before this process began.
    if (::mount("dev", "/dev", "devtmpfs", 0, nullptr) != 0) return failed("mount /dev");
    if (::mount("sys", "/sys", "sysfs", 0, nullptr) != 0) return failed("mount /sys");
    if (auto loaded = load_modules("order"); !loaded) return loaded;
    auto disks = MountedDisks::mount_all();
    if (!disks) return std::unexpected(disks.error());
    const auto entry = read_boot_configuration(*disks);
    if (!entry) return std::unexpected("no kernel to start on " + disks->seen() + ": " + entry.error());

    std::string command_line = entry->command_line;
    if (!has_console(command_line)) command_line += " console=ttyS0";
    command_line += extra;
    const auto place = [&](const FileReference& file) {
        return disks->file_systems()[file.file_system].linux_name + ":" + file.path;
    };
    {
        const File kernel = disks->open(entry->kernel);
        if (!kernel) return std::unexpected("cannot open " + place(entry->kernel));
        std::vector<File> initrds;
        for (const FileReference& initrd : entry->initrds) {
            initrds.push_back(disks->open(initrd));
            if (!initrds.back()) return std::unexpected("cannot open " + place(initrd));
        }
        if (auto loaded = load_kernel(kernel, initrds, command_line); !loaded) {
            return std::unexpected(place(entry->kernel) + ": " + loaded.error());
        }
    }
    say("\"" + entry->title + "\": " + place(entry->kernel) + " " + command_line);
    ::tcdrain(STDOUT_FILENO);
    disks->unmount();
    return jump_to_kernel();
}

}  // namespace
}  // namespace penumbra::loader

int main(int count, char** words) {
    std::string extra;
    for (int i = 1; i < count; ++i) extra += std::string(" ") + words[i];
    const auto started = penumbra::loader::start(extra);
    penumbra::loader::say("failed: " + started.error());
    ::tcdrain(STDOUT_FILENO);
    ::reboot(RB_POWER_OFF);
    return 1;
}
