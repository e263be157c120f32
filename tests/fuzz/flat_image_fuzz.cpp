// Any file, given to the guest image reader: it is refused, or all of it lies within the guest's RAM.
//
// covers: vmm/boot/flat_image.cpp
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <string>

#include "base/assert.hpp"
#include "base/unique_fd.hpp"
#include "guest-images/common/machine_abi.hpp"
#include "vmm/boot/flat_image.hpp"

namespace {

using namespace penumbra;
using namespace penumbra::vmm;

void store(int fd, const unsigned char* data, std::size_t size) {
    PENUMBRA_ASSERT(::ftruncate(fd, 0) == 0, "cannot empty a memory file");
    PENUMBRA_ASSERT(::pwrite(fd, data, size, 0) == static_cast<ssize_t>(size), "cannot fill a memory file");
}

void check(const FlatImage& image, const AddressLayout& layout, std::size_t size) {
    PENUMBRA_ASSERT(image.end().value() >= abi::image_base + size, "an image ends before its file");
    PENUMBRA_ASSERT(image.end().value() < layout.low_bytes(), "an image that does not fit was taken");
    std::uint64_t written = 0;
    const Result<> result = image.write([&](Gpa at, std::span<const std::byte> bytes) -> Result<> {
        PENUMBRA_ASSERT(at.value() == abi::image_base + written, "an image with a gap");
        PENUMBRA_ASSERT(page_offset(at) + bytes.size() <= page_bytes, "a write across a page's end");
        written += bytes.size();
        return {};
    });
    PENUMBRA_ASSERT(result && written == size, "an image was not written whole");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    static const UniqueFd fd(::memfd_create("image", MFD_CLOEXEC));
    static const std::string path = "/proc/self/fd/" + std::to_string(fd.get());
    static const AddressLayout layout = *AddressLayout::create(4ULL << 20);
    std::vector<unsigned char> file(data, data + size);
    // Half of the inputs get the magic number and their own size, or hardly any would come past those.
    if (size >= FlatImageHeader::offset + sizeof(FlatImageHeader) && data[0] % 2 == 0) {
        const std::uint64_t magic = FlatImageHeader::magic_value;
        std::copy_n(reinterpret_cast<const unsigned char*>(&magic), sizeof magic,
                    file.begin() + FlatImageHeader::offset);
        // And most of those memory for it, or less, or too much.
        const std::uint64_t bytes = data[0] % 16 == 2 ? size + 1 : size;
        const std::array<std::uint64_t, 4> memory{size, size + data[1], size - 1, (4ULL << 20) - data[1]};
        std::copy_n(reinterpret_cast<const unsigned char*>(&bytes), sizeof bytes,
                    file.begin() + FlatImageHeader::offset + sizeof magic);
        if (data[0] % 4 == 0) {
            std::copy_n(reinterpret_cast<const unsigned char*>(&memory[data[2] % memory.size()]), sizeof bytes,
                        file.begin() + FlatImageHeader::offset + sizeof magic + sizeof bytes);
        }
    }
    store(fd.get(), file.data(), file.size());
    const bool is_there = size == 0 || data[0] != 255;
    const Result<FlatImage> image = FlatImage::read(is_there ? path : "/dev/null", layout);
    if (image) {
        check(*image, layout, size);
    } else {
        PENUMBRA_ASSERT(!image.error().message().empty(), "a refusal without a reason");
    }
    return 0;
}
