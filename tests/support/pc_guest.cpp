#include "tests/support/pc_guest.hpp"

#include <elf.h>

#include <cstring>
#include <fstream>

#include "base/assert.hpp"

extern "C" {
extern const std::byte pc_guest_begin[], pc_guest_end[];
}

namespace penumbra::test::pc_guest {

std::span<const std::byte> code() { return {pc_guest_begin, pc_guest_end}; }

std::string kernel() {
    constexpr std::size_t code_at = 0x1000;
    const std::span<const std::byte> text = code();
    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_ident[EI_VERSION] = EV_CURRENT;
    header.e_type = ET_EXEC;
    header.e_machine = EM_X86_64;
    header.e_version = EV_CURRENT;
    header.e_entry = base;
    header.e_phoff = sizeof(header);
    header.e_ehsize = sizeof(header);
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = 1;
    const Elf64_Phdr segment{PT_LOAD, PF_R | PF_W | PF_X, code_at, base, base, text.size(), text.size(), 0x1000};
    std::string file(code_at + text.size(), '\0');
    std::memcpy(file.data(), &header, sizeof(header));
    std::memcpy(file.data() + sizeof(header), &segment, sizeof(segment));
    std::memcpy(file.data() + code_at, text.data(), text.size());
    return file;
}

void write_kernel(const std::string& path) {
    std::ofstream file{path, std::ios::binary};
    file << kernel() << std::flush;
    PENUMBRA_ASSERT(file.good(), "a kernel file");
}

}  // namespace penumbra::test::pc_guest
