#include "vmm/boot/flat_image.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/unique_fd.hpp"
#include "guest-images/common/machine_abi.hpp"

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

Result<std::vector<std::byte>> read_file(int fd, std::size_t size, const std::string& path) {
    std::vector<std::byte> bytes(size);
    for (std::size_t done = 0; done < size;) {
        const ssize_t got = ::read(fd, bytes.data() + done, size - done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_errno("read", path, "check the medium that holds it");
        if (got == 0) return fail("read all of (it shrank meanwhile)", path, "try again once it is no longer written");
        done += static_cast<std::size_t>(got);
    }
    return bytes;
}

}  // namespace

Result<FlatImage> FlatImage::read(const std::string& path, const AddressLayout& layout) {
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd) return fail_errno("open the guest image", path, "check its name and that you may read it");
    struct stat status{};
    if (::fstat(fd.get(), &status) < 0) return fail_errno("read the size of", path);
    if (!S_ISREG(status.st_mode)) return not_an_image(path, "not a regular file");

    const auto size = static_cast<std::uint64_t>(status.st_size);
    if (size < smallest_image) return not_an_image(path, "shorter than an image's header");
    FlatImageHeader header{};
    const ssize_t got = ::pread(fd.get(), &header, sizeof(header), FlatImageHeader::offset);
    if (got < 0) return fail_errno("read", path, "check the medium that holds it");
    if (got != sizeof(header) || header.magic != FlatImageHeader::magic_value) {
        return not_an_image(path, "no image header");
    }
    if (header.file_bytes != size) return not_an_image(path, "cut short or added to: its header names another size");
    if (header.memory_bytes < header.file_bytes) return not_an_image(path, "its header is not sound");
    const std::uint64_t room = layout.low_bytes() - abi::image_base;
    if (header.memory_bytes >= room) return too_large(path, header.memory_bytes);

    PENUMBRA_TRY_ASSIGN(std::vector<std::byte> bytes, read_file(fd.get(), size, path));
    return FlatImage(std::move(bytes), Gpa{abi::image_base + header.memory_bytes});
}

Result<> FlatImage::write(const WriteGuest& write) const { return write_by_pages(Gpa{abi::image_base}, bytes_, write); }

}  // namespace penumbra::vmm
