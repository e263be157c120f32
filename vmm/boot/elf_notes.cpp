// ELF notes: the gABI's "Note Section" and Xen's xen/include/public/elfnote.h.
#include <elf.h>

#include <cstring>
#include <string_view>

#include "vmm/boot/elf_kernel.hpp"
#include "vmm/boot/linux_room.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::uint32_t phys32_entry = 18;
constexpr std::string_view xen{"Xen\0", 4};

Result<std::optional<std::uint32_t>> entry_from(std::span<const std::byte> value) {
    std::uint64_t address = 0;
    if (value.size() != sizeof(std::uint32_t) && value.size() != sizeof(address)) return fail("read a PVH entry note");
    std::memcpy(&address, value.data(), value.size());
    if (address > UINT32_MAX) return fail("use a PVH entry above 4 GiB");
    return static_cast<std::uint32_t>(address);
}

}  // namespace

Result<std::optional<std::uint32_t>> find_pvh_entry(std::span<const std::byte> notes, std::uint64_t alignment) {
    const std::uint64_t padding = alignment == 8 ? 8 : 4;
    while (notes.size() >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr note{};
        std::memcpy(&note, notes.data(), sizeof(note));
        const std::uint64_t value_at = align_up(sizeof(note) + std::uint64_t{note.n_namesz}, padding);
        const std::uint64_t end = value_at + note.n_descsz;
        if (end > notes.size()) return fail("read a note that reaches beyond its segment");
        const bool is_xen =
            note.n_namesz == xen.size() && std::memcmp(notes.data() + sizeof(note), xen.data(), xen.size()) == 0;
        if (is_xen && note.n_type == phys32_entry) return entry_from(notes.subspan(value_at, note.n_descsz));
        const std::uint64_t next = align_up(end, padding);
        if (next >= notes.size()) break;
        notes = notes.subspan(next);
    }
    return std::nullopt;
}

}  // namespace penumbra::vmm
