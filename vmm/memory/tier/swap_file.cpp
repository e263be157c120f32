#include "vmm/memory/tier/swap_file.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/assert.hpp"

namespace penumbra::vmm {

namespace {

constexpr const char* open_act = "open the swap file";
constexpr mode_t owner_only = S_IRUSR | S_IWUSR;  // guest memory is nobody else's business

[[nodiscard]] bool is_kind(const std::string& path, mode_t kind) {
    struct stat status{};
    return ::stat(path.c_str(), &status) == 0 && (status.st_mode & S_IFMT) == kind;
}

}  // namespace

Result<SwapFile> SwapFile::open(const std::string& path) {
    AtClose at_close = AtClose::keep;
    int fd = -1;
    if (is_kind(path, S_IFDIR)) {
        fd = ::open(path.c_str(), O_RDWR | O_TMPFILE | O_CLOEXEC, owner_only);
    } else if (is_kind(path, S_IFBLK)) {
        fd = ::open(path.c_str(), O_RDWR | O_EXCL | O_CLOEXEC);  // O_EXCL: not mounted, not swapped on
    } else {
        at_close = AtClose::unlink;
        fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, owner_only);
        if (fd < 0 && errno == EEXIST) {
            at_close = AtClose::truncate;
            fd = ::open(path.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC);
        }
    }
    if (fd < 0) return fail_errno(open_act, path, "name a writable file, directory or unused block device");
    // Until the file is proved ours, its end is nobody's business.
    SwapFile file{path, UniqueFd{fd}, AtClose::keep};
    PENUMBRA_TRY(file.claim());
    PENUMBRA_TRY(file.look_at_kind());
    file.at_close_ = at_close;
    file.try_direct_io();
    return file;
}

SwapFile::~SwapFile() {
    if (!fd_) return;
    if (at_close_ == AtClose::unlink) ::unlink(path_.c_str());
    // A failure leaves the contents behind; the next start refuses the file and says what to do.
    if (at_close_ == AtClose::truncate && ::ftruncate(fd_.get(), 0) != 0) return;
}

Result<> SwapFile::claim() {
    if (::flock(fd_.get(), LOCK_EX | LOCK_NB) == 0) return {};
    if (errno == EWOULDBLOCK) return fail_errno(open_act, path_, "another VM uses it: give every VM a file of its own");
    return fail_errno("lock the swap file", path_, "use a file system that has file locks");
}

Result<> SwapFile::look_at_kind() {
    struct stat status{};
    if (::fstat(fd_.get(), &status) != 0) return fail_errno(open_act, path_);
    if (S_ISBLK(status.st_mode)) {
        if (::ioctl(fd_.get(), BLKGETSIZE64, &device_bytes_) != 0) return fail_errno("size the swap device", path_);
        return {};
    }
    if (!S_ISREG(status.st_mode)) return fail(open_act, path_, "it is neither a file, a directory nor a block device");
    if (status.st_size != 0) {
        return fail(open_act, path_, "it has contents that Penumbra would overwrite: delete it or name another file");
    }
    return {};
}

void SwapFile::try_direct_io() {
    const int flags = ::fcntl(fd_.get(), F_GETFL);
    PENUMBRA_ASSERT(flags >= 0, "flags of an open file");
    if (::fcntl(fd_.get(), F_SETFL, flags | O_DIRECT) == 0) cache_mode_ = CacheMode::direct;
}

Result<> SwapFile::grow(std::uint64_t from, std::uint64_t to) const {
    if (device_bytes_ != 0) return {};
    int rc = 0;
    do {
        rc = ::fallocate(fd_.get(), 0, static_cast<off_t>(from), static_cast<off_t>(to - from));
    } while (rc != 0 && errno == EINTR);
    if (rc == 0) return {};
    // Without fallocate the space is only found out about when it is written.
    if (errno == EOPNOTSUPP && ::ftruncate(fd_.get(), static_cast<off_t>(to)) == 0) return {};
    return fail_errno("grow the swap file", path_, "free space on its file system or give it another one");
}

}  // namespace penumbra::vmm
