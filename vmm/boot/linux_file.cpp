#include "vmm/boot/linux_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

namespace penumbra::vmm {

namespace {

constexpr std::size_t copy_bytes = std::size_t{256} << 10;

}  // namespace

Result<BootFile> BootFile::open(const std::string& path, const std::string& role) {
    // Not blocking: the name may be a FIFO's, which is refused below.
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd) return fail_errno("open " + role, path, "check its name and that you may read it");
    struct stat status{};
    if (::fstat(fd.get(), &status) < 0) return fail_errno("read the size of " + role, path);
    if (!S_ISREG(status.st_mode)) return fail("use as " + role + " (not a regular file)", path, "name a file");
    if (status.st_size <= 0) return fail("use as " + role + " (it is empty)", path, "copy or build it again");
    return BootFile(std::move(fd), path, static_cast<std::uint64_t>(status.st_size));
}

Result<> BootFile::read_at(std::uint64_t offset, std::span<std::byte> target) const {
    if (offset > size_ || target.size() > size_ - offset) {
        return fail("read beyond the end of", path_, "copy or build it again: it is cut short");
    }
    while (!target.empty()) {
        const ssize_t got = ::pread(fd_.get(), target.data(), target.size(), static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_errno("read", path_, "check the medium that holds it");
        if (got == 0) return fail("read all of (it shrank meanwhile)", path_, "start again once it is written");
        target = target.subspan(static_cast<std::size_t>(got));
        offset += static_cast<std::uint64_t>(got);
    }
    return {};
}

Result<> BootFile::copy(std::uint64_t offset, std::uint64_t bytes, Gpa target, const WriteGuest& write) const {
    std::vector<std::byte> buffer(std::min<std::uint64_t>(bytes, copy_bytes));
    while (bytes > 0) {
        const std::span piece = std::span(buffer).first(std::min<std::uint64_t>(bytes, copy_bytes));
        PENUMBRA_TRY(read_at(offset, piece));
        PENUMBRA_TRY(write_by_pages(target, piece, write));
        offset += piece.size();
        target += piece.size();
        bytes -= piece.size();
    }
    return {};
}

}  // namespace penumbra::vmm
