#include "tests/support/disk_image.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <random>

#include "base/assert.hpp"
#include "base/unique_fd.hpp"

namespace penumbra::test {

namespace fs = std::filesystem;

DiskImage::DiskImage(std::uint64_t bytes, const fs::path& folder) {
    path_ = ((folder.empty() ? fs::temp_directory_path() : folder) / "penumbra-disk-XXXXXX").string();
    const UniqueFd fd{::mkstemp(path_.data())};
    PENUMBRA_ASSERT(fd && ::ftruncate(fd.get(), static_cast<off_t>(bytes)) == 0, "no room for a test's disk");
}

DiskImage::~DiskImage() { ::unlink(path_.c_str()); }

void DiskImage::write(std::uint64_t offset, const std::vector<std::byte>& bytes) const {
    const UniqueFd fd{::open(path_.c_str(), O_WRONLY | O_CLOEXEC)};
    const ssize_t done = ::pwrite(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    PENUMBRA_ASSERT(done == static_cast<ssize_t>(bytes.size()), "no room for a test's disk");
}

std::vector<std::byte> DiskImage::contents() const {
    const UniqueFd fd{::open(path_.c_str(), O_RDONLY | O_CLOEXEC)};
    std::vector<std::byte> bytes(fs::file_size(path_));
    const ssize_t done = ::pread(fd.get(), bytes.data(), bytes.size(), 0);
    PENUMBRA_ASSERT(done == static_cast<ssize_t>(bytes.size()), "a test's disk cannot be read");
    return bytes;
}

void DiskImage::resize(std::uint64_t bytes) const { fs::resize_file(path_, bytes); }

std::optional<fs::path> direct_folder() {
    for (const fs::path& folder : {fs::temp_directory_path(), fs::current_path(), fs::path("/var/tmp")}) {
        struct statfs facts{};
        if (::statfs(folder.c_str(), &facts) != 0 || facts.f_type == TMPFS_MAGIC) continue;
        if (UniqueFd{::open(folder.c_str(), O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600)}) return folder;
    }
    return std::nullopt;
}

std::vector<std::byte> pattern(std::uint64_t seed, std::size_t bytes) {
    std::mt19937_64 random(seed);
    std::vector<std::byte> made(bytes);
    for (std::size_t at = 0; at < bytes; ++at) {
        // Bytes in runs are as telling as single ones, and quicker to make.
        made[at] = at % 16 == 0 ? static_cast<std::byte>(random()) : static_cast<std::byte>(seed + at);
    }
    return made;
}

}  // namespace penumbra::test
