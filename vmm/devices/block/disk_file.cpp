#include "vmm/devices/block/disk_file.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <utility>

#include "base/address.hpp"

namespace penumbra::vmm {

namespace {

constexpr const char* open_act = "open the disk";
constexpr std::uint32_t largest_block = page_bytes;  // pieces of guest memory end at page boundaries

[[nodiscard]] Result<DiskKind> kind_of(const std::string& path) {
    // Looked at before it is opened: opening a pipe would wait for its other end.
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) {
        const bool missing = errno == ENOENT;
        return fail_errno(open_act, path,
                          missing ? "check the path, or make the file: truncate -s 8G " + path
                                  : "check the path and its permissions");
    }
    if (S_ISDIR(status.st_mode)) return fail(open_act, path + ": Is a directory", "name a file or a block device");
    if (S_ISBLK(status.st_mode)) return DiskKind::block_device;
    if (S_ISREG(status.st_mode)) return DiskKind::file;
    return fail(open_act, path + ": neither a file nor a block device", "name a file or a block device");
}

[[nodiscard]] std::string open_cure(const DiskOptions& options) {
    const bool writable = options.access == DiskAccess::read_write;
    switch (errno) {
        case EACCES:
        case EPERM:
        case EROFS:
            return writable ? "make it writable for this user, or add ,readonly" : "make it readable for this user";
        case EBUSY:
            return "it is mounted or another process has it: give it free, or add ,readonly";
        case EINVAL:
            if (options.caching == DiskCaching::direct) return "its file system has no direct I/O: leave out ,direct";
            break;
        default:
            break;
    }
    return "check the path and its permissions";
}

/// A number from a file of sysfs; 0 when there is none.
[[nodiscard]] std::uint64_t number_in(const std::filesystem::path& path) {
    std::uint64_t number = 0;
    std::ifstream{path} >> number;
    return number;
}

}  // namespace

Result<DiskFile> DiskFile::open(const DiskOptions& options) {
    if (options.path.empty()) return fail(open_act, "'': the path is empty", "write --disk PATH");
    PENUMBRA_TRY_ASSIGN(const DiskKind kind, kind_of(options.path));
    DiskFile disk{options, kind};
    PENUMBRA_TRY(disk.open_descriptor());
    PENUMBRA_TRY(disk.lock());
    PENUMBRA_TRY(kind == DiskKind::file ? disk.measure_file() : disk.measure_device());
    PENUMBRA_TRY(disk.check_size());
    if (disk.direct()) PENUMBRA_TRY(disk.check_direct());
    return disk;
}

Result<> DiskFile::open_descriptor() {
    int flags = O_CLOEXEC | O_NOCTTY | (writable() ? O_RDWR : O_RDONLY);
    if (direct()) flags |= O_DIRECT;
    // A writer of a whole device must be the only one: O_EXCL also keeps out whoever has mounted it.
    if (kind_ == DiskKind::block_device && writable()) flags |= O_EXCL;
    fd_.reset(::open(options_.path.c_str(), flags));
    if (!fd_) return fail_errno(open_act, options_.path, open_cure(options_));
    return {};
}

Result<> DiskFile::lock() {
    // Locks of the open file description: not lost when some other descriptor of the file is closed, and they exclude
    // within one process too.
    struct flock whole{};
    whole.l_type = static_cast<short>(writable() ? F_WRLCK : F_RDLCK);
    whole.l_whence = SEEK_SET;
    if (::fcntl(fd_.get(), F_OFD_SETLK, &whole) == 0) return {};
    if (errno == EAGAIN || errno == EACCES) {
        return fail(open_act, options_.path + ": another process or disk has it locked",
                    writable() ? "end the other VM, or give every VM a disk of its own"
                               : "end the VM that writes to it, or give it ,readonly there too");
    }
    return fail_errno("lock the disk", options_.path, "use a file system that has file locks");
}

Result<> DiskFile::measure_file() {
    struct statx status{};
    if (::statx(fd_.get(), "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_DIOALIGN, &status) != 0) {
        return fail_errno("measure the disk", options_.path);
    }
    limits_.bytes = status.stx_size;
    const std::uint32_t natural = std::min<std::uint32_t>(status.stx_blksize, largest_block);
    if (std::has_single_bit(natural)) limits_.physical_block = std::max(natural, sector_bytes);
    limits_.discard_granularity = limits_.physical_block;
    if (direct() && (status.stx_mask & STATX_DIOALIGN) != 0) {
        limits_.block = std::max({status.stx_dio_offset_align, status.stx_dio_mem_align, sector_bytes});
    }
    // Behind the end there is nothing to lose: this only asks whether the file system knows the operation.
    constexpr int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    const auto end = static_cast<off_t>((limits_.bytes + page_bytes - 1) / page_bytes * page_bytes);
    if (writable() && ::fallocate(fd_.get(), punch, end, page_bytes) != 0) limits_.discard = DiskDiscard::ignored;
    return {};
}

Result<> DiskFile::measure_device() {
    int logical = 0;
    int read_only = 0;
    unsigned physical = 0;
    struct stat status{};
    if (::ioctl(fd_.get(), BLKGETSIZE64, &limits_.bytes) != 0 || ::ioctl(fd_.get(), BLKSSZGET, &logical) != 0 ||
        ::ioctl(fd_.get(), BLKPBSZGET, &physical) != 0 || ::ioctl(fd_.get(), BLKROGET, &read_only) != 0 ||
        ::fstat(fd_.get(), &status) != 0) {
        return fail_errno("measure the disk", options_.path, "name a block device that works");
    }
    // Some drivers open such a device for writing all the same, and then refuse every write.
    if (writable() && read_only != 0) {
        return fail(open_act, options_.path + ": the device is read-only",
                    "make it writable (blockdev --setrw " + options_.path + "), or add ,readonly");
    }
    limits_.block = std::max(static_cast<std::uint32_t>(logical), sector_bytes);
    limits_.physical_block = std::max(limits_.block, std::has_single_bit(physical) ? physical : limits_.block);
    look_at_discard(status.st_rdev);
    return {};
}

void DiskFile::look_at_discard(std::uint64_t device_number) {
    const std::filesystem::path sys =
        "/sys/dev/block/" + std::to_string(major(device_number)) + ":" + std::to_string(minor(device_number));
    // A partition's limits are its disk's.
    std::filesystem::path queue = sys / "queue";
    std::error_code ignored;
    if (!std::filesystem::exists(queue, ignored)) queue = sys / ".." / "queue";
    // The kernel punches a device by writing zeroes that may unmap, so that is what it must be able to do.
    if (number_in(queue / "write_zeroes_max_bytes") == 0) limits_.discard = DiskDiscard::ignored;
    const std::uint64_t granularity = number_in(queue / "discard_granularity");
    limits_.discard_granularity = limits_.block;
    if (granularity >= limits_.block && granularity <= (1U << 30)) {
        limits_.discard_granularity = static_cast<std::uint32_t>(granularity);
    }
}

Result<> DiskFile::check_size() const {
    const std::string& path = options_.path;
    if (limits_.bytes == 0) return fail(open_act, path + ": it is empty", "give it a size: truncate -s 8G " + path);
    if (limits_.bytes % sector_bytes != 0) {
        return fail(open_act,
                    path + ": its size, " + std::to_string(limits_.bytes) + " bytes, is not a multiple of 512",
                    "a raw disk image has whole sectors; grow it: truncate -s %512 " + path);
    }
    return {};
}

Result<> DiskFile::check_direct() {
    if (limits_.block > largest_block) {
        return fail(open_act, options_.path + ": its direct I/O wants blocks of " + std::to_string(limits_.block),
                    "leave out ,direct");
    }
    // A guest's partition table counts in the sectors it was made with: those of an image are 512 bytes.
    if (kind_ == DiskKind::file && limits_.block > sector_bytes) {
        return fail(open_act,
                    options_.path + ": its file system does direct I/O in blocks of " + std::to_string(limits_.block) +
                        " bytes only, a disk image has sectors of 512",
                    "leave out ,direct");
    }
    return {};
}

std::array<char, 20> DiskFile::serial() const {
    std::string name = std::filesystem::path{options_.path}.filename().string();
    std::ranges::replace_if(name, [](char c) { return c <= ' ' || c > '~'; }, '_');
    std::array<char, 20> serial{};
    if (name.size() > serial.size()) {
        constexpr std::size_t kept = 11;
        constexpr const char* digits = "0123456789abcdef";
        std::uint64_t hash = XXH3_64bits(options_.path.data(), options_.path.size());
        name.resize(kept);
        name += '-';
        for (unsigned i = 0; i < 8; ++i, hash >>= 4) name += digits[hash & 15];
    }
    std::ranges::copy(name, serial.begin());
    return serial;
}

}  // namespace penumbra::vmm
