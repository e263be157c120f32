#include "vmm/boot/linux_parameters.hpp"

#include <asm/bootparam.h>

#include <cstring>
#include <utility>

#include "base/assert.hpp"
#include "vmm/boot/linux_layout.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::uint8_t unregistered_loader = 0xFF;
constexpr std::uint16_t normal_video_mode = 0xFFFF;
static_assert(sizeof(boot_params) == page_bytes);

/// What a header says that the file has none of: enough for a kernel that is entered behind its decompressor.
setup_header header_of_elf(const LinuxKernel& kernel) {
    setup_header header{};
    header.boot_flag = 0xAA55;
    header.header = 0x5372'6448;  // "HdrS"
    header.version = 0x020C;
    header.loadflags = LOADED_HIGH;
    header.xloadflags = XLF_KERNEL_64;
    header.cmdline_size = static_cast<std::uint32_t>(kernel.command_line_limit);
    return header;
}

std::uint32_t low_address(std::uint64_t address) {
    PENUMBRA_ASSERT(address <= UINT32_MAX, "boot data above 4 GiB");
    return static_cast<std::uint32_t>(address);
}

struct StartInfo {
    std::uint32_t magic = 0x336E'C578;
    std::uint32_t version = 1;  // the first with a memory map
    std::uint32_t flags = 0;
    std::uint32_t modules = 0;
    std::uint64_t module_list = 0;
    std::uint64_t command_line = 0;
    std::uint64_t rsdp = 0;
    std::uint64_t memory_map = 0;
    std::uint32_t memory_ranges = 0;
    std::uint32_t reserved = 0;
};
struct StartModule {
    std::uint64_t address;
    std::uint64_t bytes;
    std::uint64_t command_line;
    std::uint64_t reserved;
};
struct StartRange {
    std::uint64_t first;
    std::uint64_t bytes;
    std::uint32_t type;
    std::uint32_t reserved;
};
static_assert(sizeof(StartInfo) == 56 && sizeof(StartModule) == 32 && sizeof(StartRange) == 24);

template <class T>
void append(std::vector<std::byte>& bytes, const T& value) {
    const std::size_t before = bytes.size();
    bytes.resize(before + sizeof(value));
    std::memcpy(bytes.data() + before, &value, sizeof(value));
}

}  // namespace

std::vector<std::byte> make_boot_params(const LinuxKernel& kernel, const LinuxParameters& parameters) {
    boot_params params{};
    if (kernel.setup_header.empty()) {
        params.hdr = header_of_elf(kernel);
    } else {
        PENUMBRA_ASSERT(kernel.setup_header.size() <= sizeof(params.hdr), "a setup header longer than boot_params has");
        std::memcpy(&params.hdr, kernel.setup_header.data(), kernel.setup_header.size());
    }
    params.hdr.type_of_loader = unregistered_loader;
    params.hdr.ext_loader_type = params.hdr.ext_loader_ver = 0;
    params.hdr.loadflags &= static_cast<std::uint8_t>(~(CAN_USE_HEAP | KEEP_SEGMENTS | QUIET_FLAG));
    params.hdr.vid_mode = normal_video_mode;
    params.hdr.code32_start = low_address(kernel.parts.front().target.value());
    params.hdr.ramdisk_image = low_address(parameters.initrd.value());
    params.hdr.ramdisk_size = low_address(parameters.initrd_bytes);
    params.hdr.cmd_line_ptr = linux_layout::command_line;
    params.hdr.hardware_subarch = X86_SUBARCH_PC;
    params.hdr.setup_data = 0;
    params.acpi_rsdp_addr = parameters.rsdp.value();
    PENUMBRA_ASSERT(parameters.memory.size() <= E820_MAX_ENTRIES_ZEROPAGE, "a memory map longer than boot_params has");
    for (const E820Range& range : parameters.memory) {
        params.e820_table[params.e820_entries++] = {range.first, range.bytes, std::to_underlying(range.type)};
    }
    const auto bytes = std::as_bytes(std::span(&params, 1));
    return {bytes.begin(), bytes.end()};
}

std::vector<std::byte> make_start_info(const LinuxParameters& parameters) {
    const std::uint64_t modules = parameters.initrd_bytes == 0 ? 0 : 1;
    StartInfo info;
    info.modules = static_cast<std::uint32_t>(modules);
    info.module_list = modules == 0 ? 0 : linux_layout::start_info + sizeof(StartInfo);
    info.command_line = linux_layout::command_line;
    info.rsdp = parameters.rsdp.value();
    info.memory_map = linux_layout::start_info + sizeof(StartInfo) + modules * sizeof(StartModule);
    info.memory_ranges = static_cast<std::uint32_t>(parameters.memory.size());

    std::vector<std::byte> bytes;
    append(bytes, info);
    if (modules != 0) append(bytes, StartModule{parameters.initrd.value(), parameters.initrd_bytes, 0, 0});
    for (const E820Range& range : parameters.memory) {
        append(bytes, StartRange{range.first, range.bytes, std::to_underlying(range.type), 0});
    }
    PENUMBRA_ASSERT(bytes.size() <= page_bytes, "a start info longer than its page");
    return bytes;
}

}  // namespace penumbra::vmm
