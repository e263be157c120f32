#include "guest-images/linux/loader/kexec.hpp"

#include <fcntl.h>
#include <linux/kexec.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

namespace penumbra::loader {
namespace {

/// Archives may follow each other at multiples of four bytes (Linux Documentation/driver-api/early-userspace).
Outcome<File> joined(const std::vector<File>& parts) {
    File all(::memfd_create("initrd", MFD_CLOEXEC));
    if (!all) return failed("make a file in memory");
    for (const File& part : parts) {
        struct stat status{};
        if (::fstat(part.get(), &status) != 0) return failed("read the initial RAM disk");
        off_t left = status.st_size;
        while (left > 0) {
            const ssize_t sent = ::sendfile(all.get(), part.get(), nullptr, static_cast<std::size_t>(left));
            if (sent <= 0) return failed("join the initial RAM disk's parts");
            left -= sent;
        }
        constexpr off_t step = 4;
        const off_t end = (::lseek(all.get(), 0, SEEK_END) + step - 1) / step * step;
        if (::ftruncate(all.get(), end) != 0 || ::lseek(all.get(), end, SEEK_SET) != end)
            return failed("pad the initial RAM disk");
    }
    return all;
}

void reset_virtio_devices() {
    std::error_code none;
    for (const auto& device : std::filesystem::directory_iterator("/sys/bus/virtio/devices", none)) {
        const std::string name = device.path().filename();
        const File unbind(::open((device.path() / "driver/unbind").c_str(), O_WRONLY | O_CLOEXEC));
        if (unbind && ::write(unbind.get(), name.data(), name.size()) < 0) continue;  // a driver may refuse
    }
}

}  // namespace

Outcome<> load_kernel(const File& kernel, const std::vector<File>& initrds, const std::string& command_line) {
    File all;
    if (initrds.size() > 1) {
        auto made = joined(initrds);
        if (!made) return std::unexpected(made.error());
        all = std::move(*made);
    }
    const int initrd = initrds.empty() ? -1 : all ? all.get() : initrds.front().get();
    const unsigned long flags = initrds.empty() ? KEXEC_FILE_NO_INITRAMFS : 0UL;
    if (::syscall(SYS_kexec_file_load, kernel.get(), initrd, command_line.size() + 1, command_line.c_str(), flags) !=
        0) {
        const bool memory = errno == ENOMEM || errno == EADDRNOTAVAIL;
        const bool format = errno == ENOEXEC;
        auto why = failed("load the kernel");
        return std::unexpected(why.error() + (memory   ? "; give the machine more memory"
                                              : format ? "; it must be a relocatable x86-64 bzImage"
                                                       : ""));
    }
    return {};
}

Outcome<> jump_to_kernel() {
    reset_virtio_devices();
    ::reboot(static_cast<int>(0x45584543));  // LINUX_REBOOT_CMD_KEXEC
    return failed("jump to the kernel");
}

}  // namespace penumbra::loader
