#include <gtest/gtest.h>

#include <functional>

#include "tests/unit/linux_boot_fixture.hpp"
#include "vmm/boot/elf_kernel.hpp"

namespace penumbra::vmm {
namespace {

using namespace test;

class LinuxRefusals : public LinuxBootTest {
protected:
    std::string bz(const std::function<void(TinyBzImage&)>& spoil, std::uint64_t ram_bytes = 32 * mib) {
        TinyBzImage kernel;
        spoil(kernel);
        return error_of(files(kernel.bytes()), ram_bytes);
    }
    std::string elf(const std::function<void(TinyElf&)>& spoil, std::uint64_t ram_bytes = 4 * mib) {
        TinyElf kernel;
        spoil(kernel);
        return error_of(files(kernel.bytes()), ram_bytes);
    }
};

bool says(const std::string& message, const std::string& part) { return message.contains(part); }
#define EXPECT_SAYS(message, part) EXPECT_PRED2(says, std::string(message), std::string(part))

TEST_F(LinuxRefusals, FilesThatCannotBeRead) {
    LinuxFiles all = files(TinyBzImage().bytes());
    all.initrd = folder_ / "missing";
    EXPECT_SAYS(error_of(all), "open the initrd " + all.initrd + ": No such file");
    all.initrd = folder_;
    EXPECT_SAYS(error_of(all), "the initrd (not a regular file)");
    all.initrd = store("empty", "");
    EXPECT_SAYS(error_of(all), "the initrd (it is empty)");
    all.kernel = folder_ / "missing";
    EXPECT_SAYS(error_of(all), "open the kernel");
    all.kernel = "/dev/null";
    EXPECT_SAYS(error_of(all), "the kernel (not a regular file)");
}

TEST_F(LinuxRefusals, OtherFiles) {
    EXPECT_SAYS(error_of(files("MZ")), "neither a bzImage nor an ELF");
    EXPECT_SAYS(error_of(files(std::string(10000, 'x'))), "neither a bzImage nor an ELF");
    EXPECT_SAYS(bz([](auto& k) { k.header.boot_flag = 0; }), "neither");
    EXPECT_SAYS(bz([](auto& k) { k.header.header = 0; }), "neither");
    EXPECT_SAYS(bz([](auto& k) { k.header.version = 0x020B; }), "boot protocol 2.11 is too old");
    EXPECT_SAYS(bz([](auto& k) { k.header.xloadflags = 0; }), "no 64-bit entry");
    EXPECT_EQ(bz([](auto& k) { k.header.version = 0x020C; }), "no error");
}

TEST_F(LinuxRefusals, DamagedBzImages) {
    EXPECT_SAYS(bz([](auto& k) { k.header.loadflags = 0; }), "below 1 MiB");
    EXPECT_SAYS(bz([](auto& k) { k.header.jump = 0x61EB; }), "header is too short");
    EXPECT_SAYS(bz([](auto& k) { k.header.syssize = 0x20; }), "speaks of no code");
    EXPECT_SAYS(bz([](auto& k) { k.header.syssize = 0x61; }), "speaks of 2576 bytes, it has 2560");
    EXPECT_SAYS(bz([](auto& k) { k.header.syssize = ~0U; }), "cut short");
    EXPECT_SAYS(bz([](auto& k) { k.header.setup_sects = 4; }), "cut short") << "the sectors hold all of the file";
    EXPECT_SAYS(bz([](auto& k) { k.header.setup_sects = 0; }), "cut short") << "0 means 4";
    EXPECT_SAYS(bz([](auto& k) { k.header.init_size = 0x5FF; }), "less memory than it has bytes");
    EXPECT_SAYS(bz([](auto& k) { k.header.kernel_alignment = 0; }), "alignment is unsound");
    EXPECT_SAYS(bz([](auto& k) { k.header.kernel_alignment = 0x30'0000; }), "alignment is unsound");
    EXPECT_SAYS(bz([](auto& k) { k.header.kernel_alignment = 0x800; }), "alignment is unsound");
    const auto low = [](auto& k) {
        k.header.relocatable_kernel = 0;
        k.header.pref_address = 0xF'F000;
    };
    EXPECT_SAYS(bz(low), "below 1 MiB");
}

TEST_F(LinuxRefusals, KernelsThatDoNotFitSayHowMuchRamTheyNeed) {
    const auto fits_exactly = [](auto& k) { k.header.init_size = 0x100'0000; };
    EXPECT_EQ(bz(fits_exactly, 32 * mib), "no error");
    EXPECT_SAYS(bz(fits_exactly, 30 * mib), "at least 32 MiB");
    EXPECT_SAYS(bz([](auto& k) { k.header.init_size = 0x100'0001; }), "at least 34 MiB");
    EXPECT_SAYS(bz([](auto& k) { k.header.init_size = ~0U; }), "at most 3 GiB");
    EXPECT_SAYS(bz([](auto& k) { k.header.pref_address = ~0ULL; }), "at most 3 GiB");
    EXPECT_SAYS(bz([](auto& k) { k.header.kernel_alignment = 0x8000'0000; }), "at least 2050 MiB");
    EXPECT_EQ(elf([](auto& k) { k.segments[1].p_memsz = mib; }), "no error");
    EXPECT_SAYS(elf([](auto& k) { k.segments[1].p_memsz = mib + 1; }), "at least 6 MiB");
    EXPECT_SAYS(elf([](auto& k) { k.segments[1].p_memsz = 4 * gib; }), "at most 3 GiB");
    EXPECT_SAYS(elf([](auto& k) { k.segments[1].p_paddr = ~0ULL; }), "a segment has no end");
    EXPECT_SAYS(elf([](auto& k) { k.segments[1].p_paddr = 1ULL << 63; }), "at most 3 GiB");
}

TEST_F(LinuxRefusals, InitrdsThatDoNotFit) {
    TinyElf small;
    small.segments[1].p_memsz = mib - page_bytes;
    LinuxFiles all = files(small.bytes());
    all.initrd = store("page", std::string(page_bytes, 'x'));
    EXPECT_EQ(error_of(all, 4 * mib), "no error") << "fills RAM to the last byte";
    all.initrd = store("more", std::string(page_bytes + 1, 'x'));
    EXPECT_SAYS(error_of(all, 4 * mib), "the kernel and the initrd");
    EXPECT_SAYS(error_of(all, 4 * mib), "at least 6 MiB");
    all.initrd = store("huge", "");
    std::filesystem::resize_file(all.initrd, 4 * gib);
    EXPECT_SAYS(error_of(all, 4 * mib), "at most 3 GiB");

    TinyBzImage kernel;  // needs [16 MiB, 17 MiB)
    kernel.header.initrd_addr_max = 17 * mib + 99;
    all = files(kernel.bytes());
    all.initrd = store("hundred", std::string(100, 'x'));
    EXPECT_EQ(error_of(all), "no error");
    all.initrd = store("hundred and one", std::string(101, 'x'));
    EXPECT_SAYS(error_of(all), "reaches at most 100 bytes");
    kernel.header.initrd_addr_max = 0;
    all.kernel = files(kernel.bytes()).kernel;
    EXPECT_SAYS(error_of(all), "reaches at most 0 bytes");
}

TEST_F(LinuxRefusals, CommandLines) {
    LinuxFiles all = files(TinyBzImage().bytes());
    all.command_line = std::string(2047, 'x');
    EXPECT_EQ(error_of(all), "no error");
    all.command_line += 'x';
    EXPECT_SAYS(error_of(all), "at most 2047");
    all.command_line = std::string("a\0b", 3);
    EXPECT_SAYS(error_of(all), "zero byte");
    TinyBzImage kernel;
    kernel.header.cmdline_size = ~0U;
    all = files(kernel.bytes());
    all.command_line = std::string(0x1'0000, 'x');
    EXPECT_SAYS(error_of(all), "at most 65535");
}

TEST_F(LinuxRefusals, OtherElfFiles) {
    EXPECT_SAYS(error_of(files(std::string(ELFMAG) + "xyz")), "its header lies beyond its end");
    EXPECT_SAYS(elf([](auto& k) { k.header.e_ident[EI_CLASS] = ELFCLASS32; }), "not a 64-bit one");
    EXPECT_SAYS(elf([](auto& k) { k.header.e_ident[EI_DATA] = ELFDATA2MSB; }), "another processor");
    EXPECT_SAYS(elf([](auto& k) { k.header.e_machine = EM_AARCH64; }), "another processor");
    EXPECT_SAYS(elf([](auto& k) { k.header.e_type = ET_DYN; }), "fixed addresses");
    EXPECT_SAYS(elf([](auto& k) { k.segments[0].p_paddr = 0xF'F000; }), "below 1 MiB");
}

TEST_F(LinuxRefusals, DamagedElfFiles) {
    EXPECT_SAYS(elf([](auto& k) { k.header.e_phentsize = 32; }), "unknown size");
    EXPECT_SAYS(elf([](auto& k) { k.header.e_phnum = 65; }), "65 segments");
    EXPECT_SAYS(elf([](auto& k) { k.header.e_phoff = k.file_bytes - 100; }), "segment table lies beyond");
    EXPECT_SAYS(elf([](auto& k) { k.header.e_phoff = ~0ULL; }), "segment table lies beyond");
    EXPECT_SAYS(elf([](auto& k) { k.segments[0].p_offset = ~0ULL; }), "a segment lies beyond");
    EXPECT_SAYS(elf([](auto& k) { k.segments[0].p_filesz = ~0ULL; }), "a segment lies beyond");
    EXPECT_SAYS(elf([](auto& k) { k.segments[0].p_memsz = 0x1FF; }), "more bytes than memory");
    EXPECT_SAYS(elf([](auto& k) { k.segments[0].p_memsz = 0x10'0001; }), "overlap");
    EXPECT_EQ(elf([](auto& k) { k.segments[0].p_memsz = 0x10'0000; }), "no error") << "touch";
    const auto nothing = [](auto& k) { k.segments[0].p_type = k.segments[1].p_type = PT_NULL; };
    EXPECT_SAYS(elf(nothing), "nothing in it is to be loaded");
    EXPECT_SAYS(elf([](auto& k) { k.segments[2].p_filesz = ~0ULL; }), "a note segment lies beyond");
    const auto long_notes = [](auto& k) {
        k.file_bytes = 0x1'2000;
        k.segments[2].p_filesz = 0x1'0001;
    };
    EXPECT_SAYS(elf(long_notes), "notes are too long");
    EXPECT_SAYS(elf([](auto& k) { k.notes = note(xen_name, pvh_note, "abc"); }), "notes are not sound");
    const auto entry = [](std::uint64_t address) {
        return [address](auto& k) { k.notes = note(xen_name, pvh_note, little_endian(address, 4)); };
    };
    EXPECT_EQ(elf(entry(0x20'01FF)), "no error");
    EXPECT_SAYS(elf(entry(0x20'0200)), "entry lies outside");
    EXPECT_SAYS(elf(entry(0x1F'FFFF)), "entry lies outside");
    EXPECT_SAYS(elf(entry(0x30'0100)), "entry lies outside") << "zeroed memory is no code";
}

std::string found(const std::string& notes, std::uint64_t alignment = 4) {
    const auto entry = find_pvh_entry(std::as_bytes(std::span(notes)), alignment);
    if (!entry) return "error";
    return *entry ? std::to_string(**entry) : "none";
}

TEST(ElfNotes, TheEntryIsFoundAmongOthers) {
    const std::string entry = note(xen_name, pvh_note, little_endian(77, 4));
    EXPECT_EQ(found(entry), "77");
    EXPECT_EQ(found(note(xen_name, pvh_note, little_endian(77, 8))), "77");
    EXPECT_EQ(found(note("GNU\0", pvh_note, "ab") + note(xen_name, 17, "abcde") + entry), "77");
    EXPECT_EQ(found(note(xen_name, 1, "abcde", 8) + note(xen_name, pvh_note, little_endian(77, 4), 8), 8), "77");
    EXPECT_EQ(found(""), "none");
    EXPECT_EQ(found(note("Xen", pvh_note, "abcd")), "none") << "the name ends in a zero";
    EXPECT_EQ(found(note(std::string("XEN\0", 4), pvh_note, "abcd")), "none");
    EXPECT_EQ(found(note(xen_name, 1, "") + "stray bytes"), "none");
}

TEST(ElfNotes, HostileNotesEnd) {
    const std::string entry = note(xen_name, pvh_note, little_endian(77, 4));
    EXPECT_EQ(found(entry.substr(0, entry.size() - 1)), "error");
    EXPECT_EQ(found(little_endian(~0ULL, 8) + little_endian(pvh_note, 4) + "Xen"), "error");
    EXPECT_EQ(found(little_endian(~0U, 4) + little_endian(0, 8)), "error");
    EXPECT_EQ(found(std::string(1200, '\0')), "none");
    EXPECT_EQ(found(note(xen_name, pvh_note, little_endian(1ULL << 32, 8))), "error");
    EXPECT_EQ(found(note(xen_name, pvh_note, "")), "error");
}

}  // namespace
}  // namespace penumbra::vmm
