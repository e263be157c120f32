#include "vmm/boot/elf_kernel.hpp"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "vmm/boot/linux_layout.hpp"
#include "vmm/boot/linux_room.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::size_t most_segments = 64;                           // a kernel has about five
constexpr std::uint64_t most_note_bytes = std::uint64_t{64} << 10;  // a kernel has less than one KiB
constexpr std::uint64_t command_line_limit = 2047;                  // COMMAND_LINE_SIZE of x86, less its zero

std::unexpected<Error> corrupt(const BootFile& file, const std::string& why) {
    return fail("use as an ELF kernel (" + why + ")", file.path(), "copy or build it again: it is damaged");
}

std::unexpected<Error> cut_short(const BootFile& file, const std::string& what) {
    return fail("use as an ELF kernel (" + what + " lies beyond its end)", file.path(),
                "copy or build it again: it is cut short");
}

std::unexpected<Error> wrong_kind(const BootFile& file, const std::string& why) {
    return fail("use as an ELF kernel (" + why + ")", file.path(), "name a vmlinux or bzImage built for x86-64");
}

bool in_file(const BootFile& file, std::uint64_t offset, std::uint64_t bytes) {
    return offset <= file.size() && bytes <= file.size() - offset;
}

Result<Elf64_Ehdr> read_header(const BootFile& file) {
    Elf64_Ehdr header{};
    if (file.size() < sizeof(header)) return cut_short(file, "its header");
    PENUMBRA_TRY(file.read_at(0, std::as_writable_bytes(std::span(&header, 1))));
    if (header.e_ident[EI_CLASS] != ELFCLASS64) return wrong_kind(file, "not a 64-bit one");
    if (header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_machine != EM_X86_64) {
        return wrong_kind(file, "for another processor");
    }
    if (header.e_type != ET_EXEC) return wrong_kind(file, "not an executable with fixed addresses");
    if (header.e_phentsize != sizeof(Elf64_Phdr)) return corrupt(file, "its segment headers have an unknown size");
    if (header.e_phnum == 0 || header.e_phnum > most_segments) {
        return corrupt(file, "it has " + std::to_string(header.e_phnum) + " segments");
    }
    return header;
}

Result<std::vector<Elf64_Phdr>> read_segments(const BootFile& file, const Elf64_Ehdr& header) {
    std::vector<Elf64_Phdr> segments(header.e_phnum);
    const auto bytes = std::as_writable_bytes(std::span(segments));
    if (!in_file(file, header.e_phoff, bytes.size())) return cut_short(file, "its segment table");
    PENUMBRA_TRY(file.read_at(header.e_phoff, bytes));
    return segments;
}

Result<KernelPart> part_of(const BootFile& file, const Elf64_Phdr& segment) {
    if (!in_file(file, segment.p_offset, segment.p_filesz)) return cut_short(file, "a segment");
    if (segment.p_filesz > segment.p_memsz) return corrupt(file, "a segment has more bytes than memory");
    if (segment.p_paddr < platform::high_memory_base) {
        return wrong_kind(file, "a segment belongs below 1 MiB, which is the loader's");
    }
    if (segment.p_memsz > UINT64_MAX - segment.p_paddr) return corrupt(file, "a segment has no end");
    return KernelPart{segment.p_offset, segment.p_filesz, Gpa{segment.p_paddr}, segment.p_memsz};
}

/// Sorted by address.
Result<std::vector<KernelPart>> find_parts(const BootFile& file, std::span<const Elf64_Phdr> segments,
                                           std::uint64_t low_ram_bytes) {
    std::vector<KernelPart> parts;
    for (const Elf64_Phdr& segment : segments) {
        if (segment.p_type != PT_LOAD || segment.p_memsz == 0) continue;
        PENUMBRA_TRY_ASSIGN(const KernelPart part, part_of(file, segment));
        parts.push_back(part);
    }
    if (parts.empty()) return corrupt(file, "nothing in it is to be loaded");
    std::ranges::sort(parts, {}, &KernelPart::target);
    for (std::size_t i = 1; i < parts.size(); ++i) {
        if (parts[i - 1].target + parts[i - 1].memory_bytes > parts[i].target) {
            return corrupt(file, "two segments overlap in memory");
        }
    }
    const std::uint64_t end = (parts.back().target + parts.back().memory_bytes).value();
    if (end > low_ram_bytes) return no_room("the kernel", file.path(), end);
    return parts;
}

Result<std::optional<std::uint32_t>> pvh_entry(const BootFile& file, std::span<const Elf64_Phdr> segments) {
    for (const Elf64_Phdr& segment : segments) {
        if (segment.p_type != PT_NOTE) continue;
        if (!in_file(file, segment.p_offset, segment.p_filesz)) return cut_short(file, "a note segment");
        if (segment.p_filesz > most_note_bytes) return corrupt(file, "its notes are too long");
        std::vector<std::byte> notes(segment.p_filesz);
        PENUMBRA_TRY(file.read_at(segment.p_offset, notes));
        const auto entry = find_pvh_entry(notes, segment.p_align);
        if (!entry) return corrupt(file, "its notes are not sound");
        if (*entry) return *entry;
    }
    return std::nullopt;
}

bool holds(std::span<const KernelPart> parts, std::uint64_t address) {
    return std::ranges::any_of(parts, [address](const KernelPart& part) {
        return address >= part.target.value() && address - part.target.value() < part.file_bytes;
    });
}

}  // namespace

bool is_elf(std::span<const std::byte> start) {
    return start.size() >= SELFMAG && std::memcmp(start.data(), ELFMAG, SELFMAG) == 0;
}

Result<LinuxKernel> read_elf_kernel(const BootFile& file, std::uint64_t low_ram_bytes, ElfEntry entry) {
    PENUMBRA_TRY_ASSIGN(const Elf64_Ehdr header, read_header(file));
    PENUMBRA_TRY_ASSIGN(const std::vector<Elf64_Phdr> segments, read_segments(file, header));
    PENUMBRA_TRY_ASSIGN(std::vector<KernelPart> parts, find_parts(file, segments, low_ram_bytes));
    std::optional<std::uint32_t> pvh;
    if (entry != ElfEntry::long_mode) {
        PENUMBRA_TRY_ASSIGN(pvh, pvh_entry(file, segments));
        if (entry == ElfEntry::pvh && !pvh) {
            return fail("enter by PVH (it has no PVH entry)", file.path(),
                        "name a kernel built with CONFIG_PVH, or choose the 64-bit entry");
        }
    }
    const std::uint64_t first = pvh ? *pvh : header.e_entry;
    if (!holds(parts, first)) return corrupt(file, "its entry lies outside its segments");
    const Gpa end = parts.back().target + parts.back().memory_bytes;
    return LinuxKernel{
        .parts = std::move(parts),
        .protocol = pvh ? LinuxProtocol::pvh : LinuxProtocol::boot_params,
        .entry = Gpa{first},
        .end = end,
        .initrd_limit = low_ram_bytes,
        .command_line_limit = command_line_limit,
        .setup_header = {},
    };
}

}  // namespace penumbra::vmm
