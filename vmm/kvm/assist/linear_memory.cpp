#include "vmm/kvm/assist/linear_memory.hpp"

#include <algorithm>

namespace penumbra::vmm {

namespace {

constexpr std::uint64_t entry_present = 1, entry_write = 2, entry_user = 4, entry_accessed = 1 << 5,
                        entry_dirty = 1 << 6, entry_large = 1 << 7;
constexpr std::uint64_t frame_mask = 0x000F'FFFF'FFFF'F000;
constexpr std::uint64_t cr0_write_protect = 1 << 16;
constexpr std::uint64_t cr4_five_levels = 1 << 12, cr4_smap = 1 << 21;
constexpr std::uint64_t flag_ac = 1 << 18;
constexpr std::uint32_t code_present = 1, code_write = 2;

}  // namespace

std::expected<Gpa, LinearFault> LinearMemory::translate(Gva at, Access access) {
    const unsigned levels = (system_.cr4 & cr4_five_levels) != 0 ? 5 : 4;
    const std::uint32_t write_code = access == Access::write ? code_write : 0;
    std::uint64_t table = system_.cr3 & frame_mask;
    std::uint64_t rights = entry_write | entry_user;
    for (unsigned level = levels; level > 0; --level) {
        const unsigned shift = 12 + 9 * (level - 1);
        std::uint64_t entry = 0;
        const Gpa where{table + ((at.value() >> shift) & 0x1FF) * sizeof(entry)};
        if (!memory_.read(where, std::as_writable_bytes(std::span{&entry, 1}))) {
            return std::unexpected{LinearFault{LinearFault::Kind::host, at, 0}};
        }
        if ((entry & entry_present) == 0) {
            return std::unexpected{LinearFault{LinearFault::Kind::guest, at, write_code}};
        }
        rights &= entry;
        const bool leaf = level == 1 || ((entry & entry_large) != 0 && level <= 3);
        if ((entry & entry_accessed) == 0 || (leaf && access == Access::write && (entry & entry_dirty) == 0)) {
            return std::unexpected{LinearFault{LinearFault::Kind::host, at, 0}};
        }
        if (!leaf) {
            table = entry & frame_mask;
            continue;
        }
        const bool protected_page =
            access == Access::write && (rights & entry_write) == 0 && (system_.cr0 & cr0_write_protect) != 0;
        const bool users_page = (rights & entry_user) != 0 && (system_.cr4 & cr4_smap) != 0 && (rflags_ & flag_ac) == 0;
        if (protected_page || users_page) {
            return std::unexpected{LinearFault{LinearFault::Kind::guest, at, code_present | write_code}};
        }
        const std::uint64_t offset_mask = (std::uint64_t{1} << shift) - 1;
        return Gpa{((entry & frame_mask) & ~offset_mask) | (at.value() & offset_mask)};
    }
    return std::unexpected{LinearFault{LinearFault::Kind::host, at, 0}};
}

template <class Fn>
std::expected<void, LinearFault> LinearMemory::by_pages(Gva at, std::size_t bytes, Access access, Fn&& fn) {
    for (std::size_t done = 0; done < bytes;) {
        const Gva here{at.value() + done};
        const auto physical = translate(here, access);
        if (!physical) return std::unexpected{physical.error()};
        const std::size_t piece = std::min(bytes - done, page_bytes - page_offset(*physical));
        if (!fn(*physical, done, piece)) return std::unexpected{LinearFault{LinearFault::Kind::host, here, 0}};
        done += piece;
    }
    return {};
}

std::expected<void, LinearFault> LinearMemory::read(Gva from, std::span<std::byte> to) {
    return by_pages(from, to.size(), Access::read, [&](Gpa at, std::size_t done, std::size_t n) {
        return memory_.read(at, to.subspan(done, n)).has_value();
    });
}

std::expected<void, LinearFault> LinearMemory::write(Gva to, std::span<const std::byte> from) {
    // Every page is looked at before any byte is stored: a fault leaves nothing half done.
    const auto reachable = by_pages(to, from.size(), Access::write, [](Gpa, std::size_t, std::size_t) { return true; });
    if (!reachable) return reachable;
    return by_pages(to, from.size(), Access::write, [&](Gpa at, std::size_t done, std::size_t n) {
        return memory_.write(at, from.subspan(done, n)).has_value();
    });
}

}  // namespace penumbra::vmm
