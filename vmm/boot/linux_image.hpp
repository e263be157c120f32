// A Linux kernel with its initrd and command line: read and checked once, written into the guest at each start.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "vmm/boot/address_layout.hpp"
#include "vmm/boot/boot_entry.hpp"
#include "vmm/boot/guest_writer.hpp"
#include "vmm/boot/linux_file.hpp"
#include "vmm/boot/linux_kernel.hpp"

namespace penumbra::vmm {

struct LinuxFiles {
    std::string kernel;        ///< bzImage (vmlinuz) of boot protocol 2.12 or later, or an uncompressed ELF vmlinux
    std::string initrd;        ///< empty: none
    std::string command_line;  ///< may be empty
    ElfEntry elf_entry = ElfEntry::automatic;
};

/// Whether the guest's RAM is known to hold nothing but zeroes, as before the first start.
enum class RamContents : unsigned char { zeroes, unknown };

/// Movable. Holds the files open, not their contents: they are read again by each write(). One thread at a time.
class LinuxImage {
public:
    /// Reads the kernel's headers and finds a place for everything. The files are hostile: each way in which one can be
    /// unreadable, corrupt, cut short, too old or too large has an error of its own, with a cure.
    [[nodiscard]] static Result<LinuxImage> read(const LinuxFiles& files, const AddressLayout& layout);

    /// Writes kernel, initrd, command line, boot parameters with the memory map, page tables and GDT, and tells how to
    /// enter the first vCPU (the others wait for its INIT and SIPI). `layout` is the one given to read(). `rsdp` is
    /// where the caller puts the ACPI tables' root. With `unknown` contents the kernel's zeroed memory is written too.
    [[nodiscard]] Result<BootEntry> write(const AddressLayout& layout, Gpa rsdp, const WriteGuest& write,
                                          RamContents ram = RamContents::unknown) const;

private:
    struct Initrd {
        BootFile file;
        Gpa address;
    };

    LinuxImage(BootFile file, LinuxKernel kernel, std::optional<Initrd> initrd, std::string command_line);

    BootFile file_;
    LinuxKernel kernel_;
    std::optional<Initrd> initrd_;
    std::string command_line_;
};

}  // namespace penumbra::vmm
