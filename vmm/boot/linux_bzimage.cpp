#include "vmm/boot/linux_bzimage.hpp"

#include <asm/bootparam.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <span>
#include <string>

#include "vmm/boot/linux_layout.hpp"
#include "vmm/boot/linux_room.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::uint64_t header_offset = offsetof(boot_params, hdr);  // the same in the file
static_assert(header_offset == 0x1F1);
constexpr std::uint64_t jump_end = 0x202;  // the header ends where the jump at 0x200 goes to
constexpr std::uint64_t init_size_end = 0x264;
constexpr std::uint64_t sector = 512, paragraph = 16;
constexpr std::uint64_t entry_64_offset = 0x200;
constexpr std::uint16_t boot_flag = 0xAA55;
constexpr std::uint32_t header_magic = 0x5372'6448;  // "HdrS"
constexpr std::uint16_t oldest_protocol = 0x020C;    // the first with xloadflags: Linux 3.8
constexpr unsigned default_setup_sectors = 4;

std::unexpected<Error> corrupt(const BootFile& file, const std::string& why) {
    return fail("use as a kernel (" + why + ")", file.path(), "copy or build it again: it is damaged");
}

std::unexpected<Error> not_a_kernel(const BootFile& file) {
    return fail("use as a kernel (neither a bzImage nor an ELF file)", file.path(),
                "name a vmlinuz or bzImage for x86-64, or an uncompressed vmlinux");
}

Result<> check_protocol(const setup_header& header, const BootFile& file) {
    if (header.boot_flag != boot_flag || header.header != header_magic) return not_a_kernel(file);
    if (header.version < oldest_protocol) {
        const std::string version = std::to_string(header.version >> 8) + "." + std::to_string(header.version & 0xFF);
        return fail("use as a kernel (boot protocol " + version + " is too old)", file.path(),
                    "name a kernel of boot protocol 2.12 or later: Linux 3.8 or later");
    }
    if ((header.xloadflags & XLF_KERNEL_64) == 0) {
        return fail("use as a kernel (it has no 64-bit entry)", file.path(), "name a kernel built for x86-64");
    }
    if ((header.loadflags & LOADED_HIGH) == 0) return corrupt(file, "its header wants it below 1 MiB");
    if (jump_end + (header.jump >> 8) < init_size_end) return corrupt(file, "its header is too short");
    return {};
}

/// The protected-mode part of the file: all that follows the setup sectors.
Result<KernelPart> find_payload(const setup_header& header, const BootFile& file) {
    const unsigned sectors = header.setup_sects == 0 ? default_setup_sectors : header.setup_sects;
    const std::uint64_t offset = (sectors + std::uint64_t{1}) * sector;
    const std::uint64_t promised = header.syssize * paragraph;
    if (promised <= entry_64_offset) return corrupt(file, "its header speaks of no code");
    if (offset >= file.size() || promised > file.size() - offset) {
        return fail("use as a kernel (its header speaks of " + std::to_string(offset + promised) + " bytes, it has " +
                        std::to_string(file.size()) + ")",
                    file.path(), "copy or build it again: it is cut short");
    }
    const std::uint64_t bytes = file.size() - offset;  // more than promised where a signature follows
    if (bytes > header.init_size) return corrupt(file, "its header asks for less memory than it has bytes");
    return KernelPart{offset, bytes, Gpa{}, bytes};
}

/// Where the kernel runs from. Loading it lower gains nothing: it moves itself up to pref_address ("init_size").
Result<std::uint64_t> place(const setup_header& header, const BootFile& file, std::uint64_t low_ram_bytes) {
    const std::uint64_t wanted = header.pref_address;
    if (wanted >= abi::low_ram_limit) return no_room("the kernel", file.path(), wanted);
    std::uint64_t address = wanted;
    if (header.relocatable_kernel != 0) {
        const std::uint64_t alignment = header.kernel_alignment;
        if (!std::has_single_bit(alignment) || alignment < page_bytes) return corrupt(file, "its alignment is unsound");
        address = align_up(std::max(wanted, platform::high_memory_base), alignment);
    } else if (wanted < platform::high_memory_base) {
        return corrupt(file, "its header wants it below 1 MiB");
    }
    const std::uint64_t end = address + header.init_size;
    if (end > low_ram_bytes) return no_room("the kernel", file.path(), end);
    return address;
}

}  // namespace

Result<LinuxKernel> read_bzimage(const BootFile& file, std::uint64_t low_ram_bytes) {
    if (file.size() < header_offset + sizeof(setup_header)) return not_a_kernel(file);
    setup_header header{};
    PENUMBRA_TRY(file.read_at(header_offset, std::as_writable_bytes(std::span(&header, 1))));
    PENUMBRA_TRY(check_protocol(header, file));
    PENUMBRA_TRY_ASSIGN(KernelPart payload, find_payload(header, file));
    PENUMBRA_TRY_ASSIGN(const std::uint64_t address, place(header, file, low_ram_bytes));
    payload.target = Gpa{address};

    const std::uint64_t header_end = jump_end + (header.jump >> 8);
    const auto bytes = std::as_bytes(std::span(&header, 1));
    const auto known = bytes.first(std::min<std::uint64_t>(bytes.size(), header_end - header_offset));
    return LinuxKernel{
        .parts = {payload},
        .protocol = LinuxProtocol::boot_params,
        .entry = payload.target + entry_64_offset,
        .end = Gpa{address + header.init_size},
        .initrd_limit = std::uint64_t{header.initrd_addr_max} + 1,
        .command_line_limit = std::min<std::uint64_t>(header.cmdline_size, linux_layout::command_line_bytes - 1),
        .setup_header = {known.begin(), known.end()},
    };
}

}  // namespace penumbra::vmm
