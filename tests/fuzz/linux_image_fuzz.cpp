// Any file, given to the Linux loader as its kernel: it is refused with a reason, or all that is written lies in the
// guest's RAM, nothing twice, with the entry inside.
//
// An input is four bytes of choices (RAM and what the kernel's name leads to, way of entry, initrd, command line), then
// the kernel's file. The seeds in corpus/linux_image_fuzz come from linux_seeds.py.
//
// covers: vmm/boot/linux_*.cpp vmm/boot/elf_*.cpp vmm/boot/guest_writer.cpp
// leaves: vmm/boot/address_layout.cpp: made of the host's options
// leaves: vmm/boot/boot_state.cpp: made of the layout
// leaves: vmm/boot/e820.cpp: made of the layout
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <map>
#include <span>
#include <string>

#include "base/assert.hpp"
#include "base/unique_fd.hpp"
#include "vmm/boot/linux_file.hpp"
#include "vmm/boot/linux_image.hpp"
#include "vmm/boot/platform_map.hpp"

namespace {

using namespace penumbra;
using namespace penumbra::vmm;

constexpr std::size_t choices = 4;

/// A file in memory, reached by a path.
class MemoryFile {
public:
    explicit MemoryFile(const char* name) : fd_(::memfd_create(name, MFD_CLOEXEC)) {}

    std::string store(std::span<const unsigned char> bytes) {
        resize(bytes.size());
        const auto done = ::pwrite(fd_.get(), bytes.data(), bytes.size(), 0);
        PENUMBRA_ASSERT(done == static_cast<ssize_t>(bytes.size()), "cannot fill a memory file");
        return path();
    }
    std::string store_zeroes(std::size_t bytes) {
        resize(bytes);
        return path();
    }
    void empty() { resize(0); }

private:
    void resize(std::size_t bytes) {
        PENUMBRA_ASSERT(::ftruncate(fd_.get(), 0) == 0, "cannot empty a memory file");
        PENUMBRA_ASSERT(::ftruncate(fd_.get(), static_cast<off_t>(bytes)) == 0, "cannot size a memory file");
    }
    [[nodiscard]] std::string path() const { return "/proc/self/fd/" + std::to_string(fd_.get()); }

    UniqueFd fd_;
};

/// Guest memory that keeps only where it was written.
class Written {
public:
    explicit Written(const AddressLayout& layout) : layout_(layout) {}

    WriteGuest writer() {
        return [this](Gpa at, std::span<const std::byte> bytes) -> Result<> {
            PENUMBRA_ASSERT(!bytes.empty() && page_offset(at) + bytes.size() <= page_bytes, "a write beyond its page");
            PENUMBRA_ASSERT(layout_.window_page_of(frame_of(at)), "a write beside the RAM");
            PENUMBRA_ASSERT(at.value() < platform::base_memory_end || at.value() >= platform::high_memory_base,
                            "a write where the memory map has no RAM");
            note(at.value(), at.value() + bytes.size());
            return {};
        };
    }
    [[nodiscard]] bool holds(std::uint64_t address) const {
        const auto after = pieces_.upper_bound(address);
        return after != pieces_.begin() && std::prev(after)->second > address;
    }

private:
    void note(std::uint64_t first, std::uint64_t end) {
        const auto after = pieces_.lower_bound(first);
        PENUMBRA_ASSERT(after == pieces_.end() || after->first >= end, "a write over a later piece");
        if (after == pieces_.begin() || std::prev(after)->second < first) {
            pieces_.emplace(first, end);
            return;
        }
        PENUMBRA_ASSERT(std::prev(after)->second == first, "a write over an earlier piece");
        std::prev(after)->second = end;
    }

    const AddressLayout& layout_;
    std::map<std::uint64_t, std::uint64_t> pieces_;  // first byte, end
};

void check(const LinuxImage& image, const AddressLayout& layout, RamContents contents) {
    Written written(layout);
    const Result<BootEntry> entry = image.write(layout, Gpa{platform::acpi_base}, written.writer(), contents);
    PENUMBRA_ASSERT(entry, "an image that was taken could not be written");
    if (const auto* state = std::get_if<LongModeEntry>(&*entry)) {
        PENUMBRA_ASSERT(written.holds(state->instruction.value()), "an entry outside the kernel");
        PENUMBRA_ASSERT(written.holds(state->rsi) && written.holds(state->tables.value()), "no boot state");
    } else {
        PENUMBRA_ASSERT(written.holds(std::get<ProtectedModeEntry>(*entry).instruction.value()), "an entry outside");
        PENUMBRA_ASSERT(written.holds(std::get<ProtectedModeEntry>(*entry).ebx), "no start info");
    }
}

/// Guest memory that fails at its `good`-th write: the loader stops there and says so.
void check_failure(const LinuxImage& image, const AddressLayout& layout, unsigned good) {
    unsigned writes = 0;
    const auto entry = image.write(layout, Gpa{platform::acpi_base}, [&](Gpa, std::span<const std::byte>) -> Result<> {
        if (writes++ == good) return fail("store a page");
        return {};
    });
    PENUMBRA_ASSERT(entry ? writes <= good : writes == good + 1, "a failed write was passed over");
}

/// A file that loses its bytes while it is loaded.
void check_shrinking(const LinuxImage& image, const AddressLayout& layout, MemoryFile& kernel, unsigned good) {
    unsigned writes = 0;
    const auto entry = image.write(layout, Gpa{platform::acpi_base}, [&](Gpa, std::span<const std::byte>) -> Result<> {
        if (writes++ == good) kernel.empty();
        return {};
    });
    PENUMBRA_ASSERT(entry || !entry.error().act.empty(), "a file that shrank is refused without a reason");
}

/// Places in a file as its headers give them: those within are read, and no others.
void check_bounds(const std::string& path, std::span<const unsigned char> bytes) {
    std::array<std::uint64_t, 2> places{};
    if (bytes.size() < sizeof(places)) return;
    std::memcpy(places.data(), bytes.data(), sizeof(places));
    const Result<BootFile> file = BootFile::open(path, "the kernel");
    if (!file) return;
    std::array<std::byte, 64> target{};
    for (const std::uint64_t place : places) {
        for (const std::uint64_t offset : {place, place % (2 * bytes.size())}) {
            const bool within = offset <= bytes.size() && target.size() <= bytes.size() - offset;
            PENUMBRA_ASSERT(file->read_at(offset, target).has_value() == within, "a file's bounds are not kept");
        }
    }
}

/// What the name of a kernel or an initrd leads to.
enum class Name : unsigned { file, nothing, folder, device, missing_initrd, shrinking, count };

std::string path_for(Name name, const std::string& file) {
    switch (name) {
        case Name::nothing:
            return "/proc/self/fd/there-is-no-such";
        case Name::folder:
            return "/proc/self";
        case Name::device:
            return "/dev/null";
        default:
            return file;
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    static MemoryFile kernel("kernel"), initrd("initrd");
    static const std::array layouts{*AddressLayout::create(4ULL << 20), *AddressLayout::create(20ULL << 20)};
    static constexpr std::array entries{ElfEntry::automatic, ElfEntry::pvh, ElfEntry::long_mode};
    static constexpr std::array<std::size_t, 4> initrds{0, 1, page_bytes + 1, std::size_t{1} << 20};
    static const std::array<std::string, 4> lines{"", "console=ttyS0", std::string(3000, 'x'), std::string(1, '\0')};
    if (size < choices) return -1;

    const AddressLayout& layout = layouts[data[0] % layouts.size()];
    const auto name = static_cast<Name>(data[0] / layouts.size() % static_cast<unsigned>(Name::count));
    LinuxFiles files{.kernel = path_for(name, kernel.store({data + choices, size - choices})),
                     .initrd = {},
                     .command_line = lines[data[3] % lines.size()],
                     .elf_entry = entries[data[1] % entries.size()]};
    const std::size_t initrd_bytes = initrds[data[2] % initrds.size()];
    if (initrd_bytes > 0) files.initrd = initrd.store_zeroes(initrd_bytes);
    if (name == Name::missing_initrd) files.initrd = path_for(Name::nothing, {});

    const Result<LinuxImage> image = LinuxImage::read(files, layout);
    if (name == Name::file) check_bounds(files.kernel, {data + choices, size - choices});
    if (image && name == Name::shrinking) {
        check_shrinking(*image, layout, kernel, data[1] / entries.size());
    } else if (image) {
        check(*image, layout, RamContents::unknown);
        check(*image, layout, RamContents::zeroes);
        check_failure(*image, layout, data[1] / entries.size());
    } else {
        PENUMBRA_ASSERT(!image.error().act.empty() && !image.error().cure.empty(), "a refusal without reason or cure");
    }
    return 0;
}
