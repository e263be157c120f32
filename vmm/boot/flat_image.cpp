#include "vmm/boot/flat_image.hpp"

#include <span>
#include <utility>

#include "guest-images/common/machine_abi.hpp"
#include "vmm/boot/linux_file.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::size_t smallest_image = FlatImageHeader::offset + sizeof(FlatImageHeader);

std::unexpected<Error> not_an_image(const std::string& path, const std::string& why) {
    return fail("use as a flat guest image (" + why + ")", path, "name an image built for Penumbra");
}

std::unexpected<Error> too_large(const std::string& path, std::uint64_t bytes) {
    const std::uint64_t mib = (bytes >> 20) + (abi::image_base >> 20) + 1;
    return fail("fit into the guest's RAM the image", path,
                "give the guest more than " + std::to_string(mib) + " MiB below 3 GiB, or name a smaller image");
}

}  // namespace

Result<FlatImage> FlatImage::read(const std::string& path, const AddressLayout& layout) {
    PENUMBRA_TRY_ASSIGN(const BootFile file, BootFile::open(path, "a flat guest image"));
    const std::uint64_t size = file.size();
    if (size < smallest_image) return not_an_image(path, "shorter than an image's header");
    FlatImageHeader header{};
    PENUMBRA_TRY(file.read_at(FlatImageHeader::offset, std::as_writable_bytes(std::span(&header, 1))));
    if (header.magic != FlatImageHeader::magic_value) return not_an_image(path, "no image header");
    if (header.file_bytes != size) return not_an_image(path, "cut short or added to: its header names another size");
    if (header.memory_bytes < header.file_bytes) return not_an_image(path, "its header is not sound");
    const std::uint64_t room = layout.low_bytes() - abi::image_base;
    if (header.memory_bytes >= room) return too_large(path, header.memory_bytes);

    std::vector<std::byte> bytes(size);
    PENUMBRA_TRY(file.read_at(0, bytes));
    return FlatImage(std::move(bytes), Gpa{abi::image_base + header.memory_bytes});
}

Result<> FlatImage::write(const WriteGuest& write) const { return write_by_pages(Gpa{abi::image_base}, bytes_, write); }

}  // namespace penumbra::vmm
