// Hand-made kernel files: the smallest that the Linux loader takes, to be spoilt one field at a time.
#pragma once

#include <asm/bootparam.h>
#include <elf.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace penumbra::vmm::test {

/// A bzImage of one setup sector and `code_bytes` of code that counts up.
struct TinyBzImage {
    setup_header header{};
    std::uint64_t code_bytes = 0x600;

    TinyBzImage() {
        header.setup_sects = 1;
        header.syssize = 0x60;
        header.boot_flag = 0xAA55;
        header.jump = 0x6AEB;
        header.header = 0x5372'6448;
        header.version = 0x020F;
        header.loadflags = LOADED_HIGH | CAN_USE_HEAP;
        header.initrd_addr_max = 0x7FFF'FFFF;
        header.kernel_alignment = 0x20'0000;
        header.relocatable_kernel = 1;
        header.xloadflags = XLF_KERNEL_64;
        header.cmdline_size = 2047;
        header.pref_address = 0x100'0000;
        header.init_size = 0x10'0000;
    }

    [[nodiscard]] std::string bytes() const {
        std::string file(1024 + code_bytes, '\0');
        std::memcpy(file.data() + 0x1F1, &header, sizeof(header));
        for (std::uint64_t i = 0; i < code_bytes; ++i) file[1024 + i] = static_cast<char>(i % 251 + 1);
        return file;
    }
};

/// An ELF note, padded.
inline std::string note(const std::string& name, std::uint32_t type, const std::string& value,
                        std::size_t alignment = 4) {
    const Elf64_Nhdr header{static_cast<Elf64_Word>(name.size()), static_cast<Elf64_Word>(value.size()), type};
    std::string bytes(reinterpret_cast<const char*>(&header), sizeof(header));
    const auto pad = [&] { bytes.resize((bytes.size() + alignment - 1) / alignment * alignment); };
    bytes += name;
    pad();
    bytes += value;
    pad();
    return bytes;
}

inline std::string little_endian(std::uint64_t value, std::size_t count) {
    return {reinterpret_cast<const char*>(&value), count};
}

inline const std::string xen_name{"Xen\0", 4};
inline constexpr std::uint32_t pvh_note = 18;

/// An ELF kernel with text at 2 MiB, data with zeroed memory at 3 MiB, and notes.
struct TinyElf {
    static constexpr std::uint64_t text_offset = 0x400, data_offset = 0x600, notes_offset = 0x780;

    Elf64_Ehdr header{};
    std::vector<Elf64_Phdr> segments;
    std::string notes = note("GNU\0", 3, "id") + note(xen_name, pvh_note, little_endian(0x20'0040, 8));
    std::size_t file_bytes = 0x800;

    TinyElf() {
        std::memcpy(header.e_ident, ELFMAG, SELFMAG);
        header.e_ident[EI_CLASS] = ELFCLASS64;
        header.e_ident[EI_DATA] = ELFDATA2LSB;
        header.e_ident[EI_VERSION] = EV_CURRENT;
        header.e_type = ET_EXEC;
        header.e_machine = EM_X86_64;
        header.e_version = EV_CURRENT;
        header.e_entry = 0x20'0000;
        header.e_phoff = sizeof(header);
        header.e_ehsize = sizeof(header);
        header.e_phentsize = sizeof(Elf64_Phdr);
        segments = {{PT_LOAD, PF_R | PF_X, text_offset, 0xFFFF'FFFF'8020'0000, 0x20'0000, 0x200, 0x200, 0x1000},
                    {PT_LOAD, PF_R | PF_W, data_offset, 0xFFFF'FFFF'8030'0000, 0x30'0000, 0x100, 0x3000, 0x1000},
                    {PT_NOTE, PF_R, notes_offset, 0, 0, 0, 0, 4}};
    }

    [[nodiscard]] std::string bytes() const {
        std::string file(file_bytes, '\0');
        Elf64_Ehdr head = header;
        if (head.e_phnum == 0) head.e_phnum = static_cast<Elf64_Half>(segments.size());
        std::vector<Elf64_Phdr> table = segments;
        for (Elf64_Phdr& segment : table) {
            if (segment.p_type == PT_NOTE && segment.p_filesz == 0) segment.p_filesz = notes.size();
        }
        std::memcpy(file.data(), &head, sizeof(head));
        std::memcpy(file.data() + sizeof(head), table.data(), table.size() * sizeof(Elf64_Phdr));
        for (std::size_t i = text_offset; i < notes_offset; ++i) file[i] = static_cast<char>(i % 251 + 1);
        file.replace(notes_offset, notes.size(), notes);
        return file;
    }
};

}  // namespace penumbra::vmm::test
