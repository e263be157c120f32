#include "vmm/boot/boot_state.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <optional>
#include <span>

namespace penumbra::vmm {
namespace {

constexpr std::uint64_t mib = 1ULL << 20;
constexpr std::uint64_t gib = 1ULL << 30;

TEST(AddressLayout, SmallRamIsOnePart) {
    const auto layout = AddressLayout::create(64 * mib);
    ASSERT_TRUE(layout);
    ASSERT_EQ(layout->parts().size(), 1U);
    EXPECT_EQ(layout->parts()[0].guest, (GfnRange{Gfn{0}, 64 * mib / page_bytes}));
    EXPECT_EQ(layout->high_bytes(), 0U);
    EXPECT_FALSE(layout->window_page_of(Gfn{64 * mib / page_bytes}));
}

TEST(AddressLayout, LargeRamGoesOnBehindTheDevices) {
    const auto layout = AddressLayout::create(5 * gib);
    ASSERT_TRUE(layout);
    ASSERT_EQ(layout->parts().size(), 2U);
    const std::uint64_t low_pages = abi::low_ram_limit / page_bytes;
    EXPECT_EQ(layout->parts()[1].guest, (GfnRange{frame_of(Gpa{abi::high_ram_base}), 2 * gib / page_bytes}));
    EXPECT_EQ(layout->parts()[1].window_page, low_pages);
    EXPECT_FALSE(layout->window_page_of(Gfn{low_pages}));
    for (const std::uint64_t page : {std::uint64_t{0}, low_pages - 1, low_pages, layout->pages() - 1}) {
        EXPECT_EQ(layout->window_page_of(layout->gfn_of(page)), page);
    }
    EXPECT_EQ(layout->gfn_of(low_pages), frame_of(Gpa{abi::high_ram_base}));
}

TEST(AddressLayout, UnusableSizesAreRefused) {
    for (const std::uint64_t bytes :
         {std::uint64_t{0}, 2 * mib, 64 * mib + page_bytes, 59 * gib + 2 * mib, ~std::uint64_t{1} << 21}) {
        const auto layout = AddressLayout::create(bytes);
        ASSERT_FALSE(layout) << bytes;
        EXPECT_FALSE(layout.error().cure.empty());
    }
    EXPECT_TRUE(AddressLayout::create(59 * gib));
}

/// Guest memory that walks page tables as the processor does.
struct Memory {
    WriteGuest writer() {
        return [this](Gpa gpa, std::span<const std::byte> bytes) -> Result<> {
            EXPECT_LE(page_offset(gpa) + bytes.size(), page_bytes);
            EXPECT_LE(gpa.value() + bytes.size(), abi::boot_stacks_base);
            std::memcpy(pages[gpa.value() & ~(page_bytes - 1)].data() + page_offset(gpa), bytes.data(), bytes.size());
            return {};
        };
    }
    std::uint64_t word(std::uint64_t gpa) {
        std::uint64_t value = 0;
        const auto page = pages.find(gpa & ~(page_bytes - 1));
        if (page != pages.end()) std::memcpy(&value, page->second.data() + gpa % page_bytes, sizeof(value));
        return value;
    }
    std::optional<std::uint64_t> translate(std::uint64_t va) {
        std::uint64_t table = abi::boot_tables_base;
        for (const unsigned shift : {39U, 30U, 21U}) {
            const std::uint64_t entry = word(table + (va >> shift & 511) * 8);
            if ((entry & 7) != 7) return std::nullopt;  // present, writable, user
            table = entry & 0x000F'FFFF'FFFF'F000;
            if ((entry & 0x80) != 0) return shift == 21 ? std::optional(table + va % (2 * mib)) : std::nullopt;
        }
        return std::nullopt;
    }
    std::map<std::uint64_t, std::array<std::byte, page_bytes>> pages;
};

TEST(BootState, TablesMapEverythingToItself) {
    for (const std::uint64_t ram : {64 * mib, 3 * gib, 5 * gib + 2 * mib, 59 * gib}) {
        const auto layout = AddressLayout::create(ram);
        ASSERT_TRUE(layout);
        Memory memory;
        ASSERT_TRUE(write_boot_state({}, *layout, memory.writer()));
        const std::uint64_t end = std::max(4 * gib, layout->high_bytes() == 0 ? 0 : 4 * gib + layout->high_bytes());
        for (std::uint64_t va = 0; va < end; va += 2 * mib) ASSERT_EQ(memory.translate(va + 0x123), va + 0x123);
        EXPECT_FALSE(memory.translate(end));
        EXPECT_FALSE(memory.translate(1ULL << 39));
    }
}

TEST(BootState, InformationIsCompleted) {
    const auto layout = AddressLayout::create(5 * gib);
    Memory memory;
    abi::BootInfo info{};
    info.cpus = 3;
    ASSERT_TRUE(write_boot_state(info, *layout, memory.writer()));
    abi::BootInfo got{};
    std::memcpy(&got, memory.pages.at(abi::boot_info_base).data(), sizeof(got));
    EXPECT_EQ(got.magic, abi::boot_magic);
    EXPECT_EQ(got.low_ram_bytes, 3 * gib);
    EXPECT_EQ(got.high_ram_bytes, 2 * gib);
    EXPECT_EQ(got.cpus, 3U);
}

TEST(BootState, EachVcpuHasItsStack) {
    EXPECT_EQ(boot_entry(0).stack_top.value(), abi::boot_stacks_base + page_bytes);
    EXPECT_EQ(boot_entry(abi::max_vcpus - 1).stack_top.value(), abi::boot_stacks_base + abi::max_vcpus * page_bytes);
    EXPECT_EQ(boot_entry(7).rsi, 7U);
    EXPECT_EQ(boot_entry(7).rdi, abi::boot_info_base);
    EXPECT_EQ(boot_entry(7).instruction.value(), abi::image_base);
}

}  // namespace
}  // namespace penumbra::vmm
