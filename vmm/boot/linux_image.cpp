#include "vmm/boot/linux_image.hpp"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "base/assert.hpp"
#include "vmm/boot/boot_state.hpp"
#include "vmm/boot/e820.hpp"
#include "vmm/boot/elf_kernel.hpp"
#include "vmm/boot/linux_bzimage.hpp"
#include "vmm/boot/linux_layout.hpp"
#include "vmm/boot/linux_parameters.hpp"
#include "vmm/boot/linux_room.hpp"

namespace penumbra::vmm {

namespace {

Result<LinuxKernel> read_kernel(const BootFile& file, std::uint64_t low_ram_bytes, ElfEntry entry) {
    std::array<std::byte, 4> start{};
    PENUMBRA_TRY(file.read_at(0, std::span(start).first(std::min<std::uint64_t>(start.size(), file.size()))));
    return is_elf(start) ? read_elf_kernel(file, low_ram_bytes, entry) : read_bzimage(file, low_ram_bytes);
}

Result<> check_command_line(const std::string& line, const LinuxKernel& kernel) {
    if (line.contains('\0')) return fail("pass a command line with a zero byte in it", {}, "take the zero byte out");
    if (line.size() <= kernel.command_line_limit) return {};
    return fail("pass a command line of " + std::to_string(line.size()) + " bytes", {},
                "shorten it: this kernel takes at most " + std::to_string(kernel.command_line_limit));
}

/// As high as the kernel can reach it, so that what the kernel needs below grows without hitting it.
Result<Gpa> place_initrd(const BootFile& file, const LinuxKernel& kernel, std::uint64_t low_ram_bytes) {
    const std::uint64_t lowest = align_up(kernel.end.value(), page_bytes);
    if (file.size() > abi::low_ram_limit) return no_room("the initrd", file.path(), file.size());
    const std::uint64_t needed = lowest + align_up(file.size(), page_bytes);
    if (needed > low_ram_bytes) return no_room("the kernel and the initrd", file.path(), needed);
    if (lowest + file.size() > kernel.initrd_limit) {
        const std::uint64_t room = kernel.initrd_limit < lowest ? 0 : kernel.initrd_limit - lowest;
        return fail("use as an initrd (" + std::to_string(file.size()) + " bytes)", file.path(),
                    "make it smaller: this kernel reaches at most " + std::to_string(room) + " bytes of one");
    }
    const std::uint64_t limit = std::min(low_ram_bytes, kernel.initrd_limit);
    return Gpa{(limit - file.size()) & ~(page_bytes - 1)};
}

Result<> write_zeroes(Gpa first, std::uint64_t bytes, const WriteGuest& write) {
    static constexpr std::array<std::byte, page_bytes> zeroes{};
    while (bytes > 0) {
        const std::uint64_t piece = std::min(bytes, page_bytes - page_offset(first));
        PENUMBRA_TRY(write(first, std::span(zeroes).first(piece)));
        first += piece;
        bytes -= piece;
    }
    return {};
}

Result<> write_part(const BootFile& file, const KernelPart& part, RamContents ram, const WriteGuest& write) {
    PENUMBRA_TRY(file.copy(part.file_offset, part.file_bytes, part.target, write));
    if (ram == RamContents::zeroes) return {};
    return write_zeroes(part.target + part.file_bytes, part.memory_bytes - part.file_bytes, write);
}

Result<BootEntry> write_long_mode(const LinuxKernel& kernel, const LinuxParameters& parameters,
                                  const AddressLayout& layout, const WriteGuest& write) {
    const auto gdt = std::as_bytes(std::span(linux_layout::gdt_entries));
    PENUMBRA_TRY(write_by_pages(Gpa{linux_layout::gdt}, gdt, write));
    PENUMBRA_TRY(write_by_pages(Gpa{abi::boot_tables_base}, boot_page_tables(layout), write));
    PENUMBRA_TRY(write_by_pages(Gpa{linux_layout::boot_params}, make_boot_params(kernel, parameters), write));
    return LongModeEntry{.instruction = Gva{kernel.entry.value()},
                         .stack_top = Gva{linux_layout::stack_top},
                         .tables = Gpa{abi::boot_tables_base},
                         .rdi = 0,
                         .rsi = linux_layout::boot_params,
                         .segments = {.code = linux_layout::code_selector,
                                      .data = linux_layout::data_selector,
                                      .table = Gva{linux_layout::gdt},
                                      .table_limit = sizeof(linux_layout::gdt_entries) - 1}};
}

Result<BootEntry> write_pvh(const LinuxKernel& kernel, const LinuxParameters& parameters, const WriteGuest& write) {
    PENUMBRA_TRY(write_by_pages(Gpa{linux_layout::start_info}, make_start_info(parameters), write));
    return ProtectedModeEntry{.instruction = kernel.entry, .ebx = linux_layout::start_info};
}

}  // namespace

LinuxImage::LinuxImage(BootFile file, LinuxKernel kernel, std::optional<Initrd> initrd, std::string command_line)
    : file_(std::move(file)),
      kernel_(std::move(kernel)),
      initrd_(std::move(initrd)),
      command_line_(std::move(command_line)) {}

Result<LinuxImage> LinuxImage::read(const LinuxFiles& files, const AddressLayout& layout) {
    PENUMBRA_TRY_ASSIGN(BootFile file, BootFile::open(files.kernel, "the kernel"));
    PENUMBRA_TRY_ASSIGN(LinuxKernel kernel, read_kernel(file, layout.low_bytes(), files.elf_entry));
    PENUMBRA_TRY(check_command_line(files.command_line, kernel));
    std::optional<Initrd> initrd;
    if (!files.initrd.empty()) {
        PENUMBRA_TRY_ASSIGN(BootFile initrd_file, BootFile::open(files.initrd, "the initrd"));
        PENUMBRA_TRY_ASSIGN(const Gpa address, place_initrd(initrd_file, kernel, layout.low_bytes()));
        initrd = Initrd{std::move(initrd_file), address};
    }
    return LinuxImage(std::move(file), std::move(kernel), std::move(initrd), files.command_line);
}

Result<BootEntry> LinuxImage::write(const AddressLayout& layout, Gpa rsdp, const WriteGuest& write,
                                    RamContents ram) const {
    PENUMBRA_ASSERT(kernel_.end.value() <= layout.low_bytes(), "another layout than the image was read for");
    for (const KernelPart& part : kernel_.parts) PENUMBRA_TRY(write_part(file_, part, ram, write));
    LinuxParameters parameters{.rsdp = rsdp, .initrd = {}, .initrd_bytes = 0, .memory = e820_map(layout)};
    if (initrd_) {
        PENUMBRA_TRY(initrd_->file.copy(0, initrd_->file.size(), initrd_->address, write));
        parameters.initrd = initrd_->address;
        parameters.initrd_bytes = initrd_->file.size();
    }
    const auto line = std::as_bytes(std::span(command_line_.c_str(), command_line_.size() + 1));
    PENUMBRA_TRY(write_by_pages(Gpa{linux_layout::command_line}, line, write));
    if (kernel_.protocol == LinuxProtocol::pvh) return write_pvh(kernel_, parameters, write);
    return write_long_mode(kernel_, parameters, layout, write);
}

}  // namespace penumbra::vmm
