#include <gtest/gtest.h>

#include <vector>

#include "tests/unit/linux_boot_fixture.hpp"
#include "vmm/boot/e820.hpp"
#include "vmm/boot/linux_image.hpp"
#include "vmm/boot/linux_layout.hpp"

namespace penumbra::vmm {
namespace {

using namespace test;

TEST_F(LinuxBootTest, BzImageIsEnteredIn64BitMode) {
    const AddressLayout layout = *AddressLayout::create(5 * gib);
    TinyBzImage kernel;
    LinuxFiles all = files(kernel.bytes());
    all.initrd = store("initrd", std::string(5000, 'i'));
    const auto image = LinuxImage::read(all, layout);
    ASSERT_TRUE(image) << image.error().message();
    GuestRam ram(layout);
    const auto entry = image->write(layout, rsdp, ram.writer());
    ASSERT_TRUE(entry);
    const auto* state = std::get_if<LongModeEntry>(&*entry);
    ASSERT_NE(state, nullptr);
    EXPECT_EQ(state->instruction.value(), 0x100'0200U);
    EXPECT_EQ(state->tables.value(), abi::boot_tables_base);
    EXPECT_EQ(ram.text(0x100'0000, kernel.code_bytes), kernel.bytes().substr(1024));
    EXPECT_EQ(ram.read<std::uint64_t>(abi::boot_tables_base) & 1, 1U) << "page tables";
    const BootSegments& segments = state->segments;
    EXPECT_EQ(segments.code, 0x10);
    EXPECT_EQ(segments.data, 0x18);
    EXPECT_GE(segments.table_limit, segments.data + 7);
    EXPECT_EQ(ram.read<std::uint64_t>(segments.table.value() + segments.code), linux_layout::code_descriptor);
    EXPECT_EQ(ram.read<std::uint64_t>(segments.table.value() + segments.data), linux_layout::data_descriptor);

    const auto params = ram.read<boot_params>(state->rsi);
    EXPECT_EQ(params.hdr.header, 0x5372'6448U);
    EXPECT_EQ(params.hdr.version, 0x020F);
    EXPECT_EQ(params.hdr.type_of_loader, 0xFF);
    EXPECT_EQ(params.hdr.loadflags, LOADED_HIGH);
    EXPECT_EQ(params.hdr.code32_start, 0x100'0000U);
    EXPECT_EQ(params.acpi_rsdp_addr, rsdp.value());
    EXPECT_EQ(params.sentinel, 0);
    EXPECT_EQ(ram.text(params.hdr.cmd_line_ptr, 14), std::string("console=ttyS0\0", 14));
    EXPECT_EQ(params.hdr.ramdisk_size, 5000U);
    EXPECT_EQ(params.hdr.ramdisk_image, 2 * gib - 2 * page_bytes) << "as high as initrd_addr_max lets it";
    EXPECT_EQ(ram.text(params.hdr.ramdisk_image, 5000), std::string(5000, 'i'));
}

TEST_F(LinuxBootTest, MemoryMapTellsRamFromDevices) {
    const AddressLayout layout = *AddressLayout::create(5 * gib);
    const auto image = LinuxImage::read(files(TinyBzImage().bytes()), layout);
    ASSERT_TRUE(image);
    GuestRam ram(layout);
    ASSERT_TRUE(image->write(layout, rsdp, ram.writer()));
    const auto params = ram.read<boot_params>(linux_layout::boot_params);
    const std::vector<std::array<std::uint64_t, 3>> expected{{0, 0x9F000, 1},       {0x9F000, 0x41000, 2},
                                                             {0xE0000, 0x20000, 3}, {mib, 3 * gib - mib, 1},
                                                             {0xD100'0000, mib, 2}, {4 * gib, 2 * gib, 1}};
    ASSERT_EQ(params.e820_entries, expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
        const boot_e820_entry range = params.e820_table[i];
        EXPECT_EQ((std::array<std::uint64_t, 3>{range.addr, range.size, range.type}), expected[i]) << i;
    }
    EXPECT_EQ(e820_map(*AddressLayout::create(64 * mib)).back().type, E820Type::reserved) << "no RAM from 4 GiB on";
}

TEST_F(LinuxBootTest, ElfIsEnteredByPvh) {
    const AddressLayout layout = *AddressLayout::create(4 * mib);
    LinuxFiles all = files(TinyElf().bytes());
    all.initrd = store("initrd", "initrd");
    const auto image = LinuxImage::read(all, layout);
    ASSERT_TRUE(image) << image.error().message();
    GuestRam ram(layout, std::byte{0xAA});
    const auto entry = image->write(layout, rsdp, ram.writer());
    ASSERT_TRUE(entry);
    const auto* state = std::get_if<ProtectedModeEntry>(&*entry);
    ASSERT_NE(state, nullptr);
    EXPECT_EQ(state->instruction.value(), 0x20'0040U);
    EXPECT_EQ(ram.text(0x20'0000, 0x200), TinyElf().bytes().substr(0x400, 0x200));
    EXPECT_EQ(ram.text(0x30'0000, 0x100), TinyElf().bytes().substr(0x600, 0x100));
    EXPECT_EQ(ram.text(0x30'0100, 0x2F00), std::string(0x2F00, '\0')) << "left over from before a reset";
    EXPECT_EQ(ram.read<std::byte>(0x30'3000), std::byte{0xAA});

    const auto info = ram.read<std::array<std::uint32_t, 14>>(state->ebx);
    EXPECT_EQ(info[0], 0x336E'C578U);
    EXPECT_EQ(info[1], 1U) << "version";
    EXPECT_EQ(info[3], 1U) << "modules";
    EXPECT_EQ(info[8], rsdp.value());
    EXPECT_EQ(info[12], 5U) << "memory ranges";
    EXPECT_EQ(ram.text(info[6], 14), std::string("console=ttyS0\0", 14));
    const auto module = ram.read<std::array<std::uint64_t, 4>>(info[4]);
    EXPECT_EQ(module, (std::array<std::uint64_t, 4>{4 * mib - page_bytes, 6, 0, 0}));
    EXPECT_EQ(ram.text(module[0], 6), "initrd");
    const auto third = ram.read<std::array<std::uint64_t, 3>>(info[10] + 2 * 24);
    EXPECT_EQ(third, (std::array<std::uint64_t, 3>{0xE0000, 0x20000, 3}));
}

TEST_F(LinuxBootTest, ZeroedMemoryIsLeftAloneWhereItIsZeroAlready) {
    const AddressLayout layout = *AddressLayout::create(4 * mib);
    const auto image = LinuxImage::read(files(TinyElf().bytes()), layout);
    ASSERT_TRUE(image);
    GuestRam known(layout), unknown(layout);
    ASSERT_TRUE(image->write(layout, rsdp, known.writer(), RamContents::zeroes));
    ASSERT_TRUE(image->write(layout, rsdp, unknown.writer()));
    EXPECT_EQ(known.pages() + 2, unknown.pages());
}

TEST_F(LinuxBootTest, ElfWithoutPvhOrOnRequestIsEnteredIn64BitMode) {
    const AddressLayout layout = *AddressLayout::create(4 * mib);
    TinyElf plain;
    plain.notes = note("GNU\0", 3, "id");
    const std::vector<LinuxFiles> cases{files(plain.bytes()), files(TinyElf().bytes(), ElfEntry::long_mode)};
    for (const LinuxFiles& all : cases) {
        const auto image = LinuxImage::read(all, layout);
        ASSERT_TRUE(image) << image.error().message();
        GuestRam ram(layout);
        const auto entry = image->write(layout, rsdp, ram.writer());
        ASSERT_TRUE(entry && std::holds_alternative<LongModeEntry>(*entry));
        EXPECT_EQ(std::get<LongModeEntry>(*entry).instruction.value(), 0x20'0000U);
        const auto params = ram.read<boot_params>(std::get<LongModeEntry>(*entry).rsi);
        EXPECT_EQ(params.hdr.header, 0x5372'6448U);
        EXPECT_EQ(params.hdr.cmd_line_ptr, linux_layout::command_line);
        EXPECT_EQ(params.hdr.ramdisk_size, 0U);
        EXPECT_EQ(params.acpi_rsdp_addr, rsdp.value());
    }
    EXPECT_TRUE(error_of(files(plain.bytes(), ElfEntry::pvh)).contains("CONFIG_PVH"));
    plain.notes.clear();
    plain.segments.pop_back();
    EXPECT_EQ(error_of(files(plain.bytes())), "no error");
}

TEST_F(LinuxBootTest, PlacementFollowsTheHeader) {
    struct Case {
        std::uint64_t preferred;
        std::uint8_t relocatable;
        std::uint32_t alignment;
        std::uint64_t expected;
    };
    for (const Case& c : {Case{0x10'0000, 0, 0, 0x10'0000}, Case{0, 1, 0x1000, 0x10'0000},
                          Case{0x10'0000, 1, 0x20'0000, 0x20'0000}, Case{0x30'0000, 1, 0x10'0000, 0x30'0000}}) {
        TinyBzImage kernel;
        kernel.header.pref_address = c.preferred;
        kernel.header.relocatable_kernel = c.relocatable;
        kernel.header.kernel_alignment = c.alignment;
        const AddressLayout layout = *AddressLayout::create(4 * mib);
        const auto image = LinuxImage::read(files(kernel.bytes()), layout);
        ASSERT_TRUE(image) << image.error().message();
        GuestRam ram(layout);
        const auto entry = image->write(layout, rsdp, ram.writer());
        ASSERT_TRUE(entry);
        EXPECT_EQ(std::get<LongModeEntry>(*entry).instruction.value(), c.expected + 0x200);
        EXPECT_EQ(ram.text(c.expected, 4), "\1\2\3\4");
    }
}

TEST_F(LinuxBootTest, ShortHeaderDoesNotLeakCodeIntoBootParams) {
    TinyBzImage kernel;
    kernel.header.jump = 0x62EB;  // ends behind init_size
    kernel.header.handover_offset = 0x1234;
    const AddressLayout layout = *AddressLayout::create(32 * mib);
    const auto image = LinuxImage::read(files(kernel.bytes()), layout);
    ASSERT_TRUE(image) << image.error().message();
    GuestRam ram(layout);
    ASSERT_TRUE(image->write(layout, rsdp, ram.writer()));
    const auto params = ram.read<boot_params>(linux_layout::boot_params);
    EXPECT_EQ(params.hdr.init_size, kernel.header.init_size);
    EXPECT_EQ(params.hdr.handover_offset, 0U);
}

TEST_F(LinuxBootTest, ErrorsOfTheGuestsMemoryArePassedOn) {
    const AddressLayout layout = *AddressLayout::create(32 * mib);
    LinuxFiles bz = files(TinyBzImage().bytes());
    LinuxFiles elf = files(TinyElf().bytes());
    bz.initrd = elf.initrd = store("initrd", "initrd");
    for (const LinuxFiles& all : {bz, elf}) {
        const auto image = LinuxImage::read(all, layout);
        ASSERT_TRUE(image);
        unsigned writes = 0;
        ASSERT_TRUE(image->write(layout, rsdp, [&](Gpa, std::span<const std::byte>) -> Result<> {
            ++writes;
            return {};
        }));
        for (unsigned broken = 0; broken < writes; ++broken) {
            unsigned left = broken;
            EXPECT_FALSE(image->write(layout, rsdp, [&](Gpa, std::span<const std::byte>) -> Result<> {
                if (left-- == 0) return fail("store a page");
                return {};
            })) << broken;
        }
    }
}

TEST_F(LinuxBootTest, FileThatShrinksIsAnErrorOfTheNextWrite) {
    const AddressLayout layout = *AddressLayout::create(32 * mib);
    const LinuxFiles all = files(TinyBzImage().bytes());
    const auto image = LinuxImage::read(all, layout);
    ASSERT_TRUE(image);
    GuestRam ram(layout);
    ASSERT_TRUE(image->write(layout, rsdp, ram.writer()));
    ASSERT_TRUE(image->write(layout, rsdp, ram.writer())) << "once for each reset";
    std::filesystem::resize_file(all.kernel, 1100);
    const auto refused = image->write(layout, rsdp, ram.writer());
    ASSERT_FALSE(refused);
    EXPECT_TRUE(refused.error().message().contains("shrank")) << refused.error().message();
}

}  // namespace
}  // namespace penumbra::vmm
