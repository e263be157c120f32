#include "vmm/boot/boot_state.hpp"

#include <algorithm>
#include <span>

#include "base/page_size.hpp"

namespace penumbra::vmm {

namespace {

// SDM volume 3, tables 4-15 to 4-18.
constexpr std::uint64_t present = 1, writable = 2, user = 4, accessed = 0x20, dirty = 0x40, large_page = 0x80;
constexpr std::uint64_t table_flags = present | writable | user | accessed;
constexpr std::uint64_t leaf_flags = table_flags | dirty | large_page;

constexpr std::uint64_t gib = 1ULL << 30;
constexpr std::uint64_t leaf_bytes = 2ULL << 20;

// PML4, PDPT, then one page directory per GiB.
constexpr std::uint64_t tables_before_directories = 2;
static_assert(abi::boot_tables_base + (tables_before_directories + max_mapped_bytes / gib) * page_bytes <=
              abi::boot_stacks_base);
static_assert(abi::boot_stacks_base + abi::max_vcpus * page_bytes <= abi::image_base);
static_assert(sizeof(abi::BootInfo) <= page_bytes);

constexpr std::uint64_t table_address(std::uint64_t index) { return abi::boot_tables_base + index * page_bytes; }

}  // namespace

std::vector<std::byte> boot_page_tables(const AddressLayout& layout) {
    const std::uint64_t ram_end = layout.high_bytes() == 0 ? 0 : abi::high_ram_base + layout.high_bytes();
    const std::uint64_t mapped = std::max(abi::high_ram_base, ram_end);
    const std::uint64_t directories = (mapped + gib - 1) / gib;

    std::vector<std::uint64_t> entries((tables_before_directories + directories) * entries_per_node);
    entries[0] = table_address(1) | table_flags;
    for (std::uint64_t i = 0; i < directories; ++i) {
        entries[entries_per_node + i] = table_address(tables_before_directories + i) | table_flags;
    }
    for (std::uint64_t i = 0; i * leaf_bytes < mapped; ++i) {
        entries[tables_before_directories * entries_per_node + i] = i * leaf_bytes | leaf_flags;
    }
    const auto bytes = std::as_bytes(std::span(entries));
    return {bytes.begin(), bytes.end()};
}

Result<> write_boot_state(abi::BootInfo info, const AddressLayout& layout, const WriteGuest& write) {
    info.magic = abi::boot_magic;
    info.low_ram_bytes = layout.low_bytes();
    info.high_ram_bytes = layout.high_bytes();
    PENUMBRA_TRY(write_by_pages(Gpa{abi::boot_info_base}, std::as_bytes(std::span(&info, 1)), write));
    return write_by_pages(Gpa{abi::boot_tables_base}, boot_page_tables(layout), write);
}

LongModeEntry boot_entry(std::uint32_t cpu) {
    PENUMBRA_ASSERT(cpu < abi::max_vcpus, "more vCPUs than boot stacks");
    return {.instruction = Gva{abi::image_base},
            .stack_top = Gva{abi::boot_stacks_base + (cpu + 1) * page_bytes},
            .tables = Gpa{abi::boot_tables_base},
            .rdi = abi::boot_info_base,
            .rsi = cpu};
}

}  // namespace penumbra::vmm
