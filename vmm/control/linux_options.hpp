// What `penumbra run` was asked about a Linux guest: its kernel and its devices.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "vmm/devices/block/disk_options.hpp"
#include "vmm/devices/net/net_options.hpp"

namespace penumbra::vmm {

/// Where a virtio device is plugged in.
enum class VirtioBus : std::uint8_t { pci, mmio };

struct DiskChoice {
    DiskOptions disk;
    VirtioBus bus = VirtioBus::pci;
};

struct NetChoice {
    NetOptions net;
    VirtioBus bus = VirtioBus::pci;
};

enum class OnGuestReset : std::uint8_t { restart, end };

/// Paths as given.
struct LinuxOptions {
    std::string kernel;
    std::string initrd;  ///< empty: none
    std::string append;  ///< the kernel's command line
    std::string loader;  ///< folder of the loader that starts a disk's own kernel; empty: where it is installed
    std::vector<DiskChoice> disks;
    std::vector<NetChoice> nets;
    bool virtio_console = false;
    OnGuestReset on_reset = OnGuestReset::restart;

    [[nodiscard]] bool empty() const { return kernel.empty() && disks.empty(); }
};

/// "PATH[,readonly][,direct][,mmio]".
[[nodiscard]] Result<DiskChoice> parse_disk(const std::string& text);
/// As parse_net_options(), with ",mmio" anywhere behind the first word.
[[nodiscard]] Result<NetChoice> parse_net(const std::string& text);

/// Without a kernel the loader takes its place (guest-images/linux/README.md): its kernel, initrd and command line, and
/// `append` behind " -- ", which is for the disk's kernel.
[[nodiscard]] Result<> complete_linux(LinuxOptions& options);

/// What the files and the host have to say to complete options, as far as can be told without using them.
[[nodiscard]] Result<> check_linux(const LinuxOptions& options);

}  // namespace penumbra::vmm
