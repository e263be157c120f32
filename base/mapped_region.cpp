#include "base/mapped_region.hpp"

#include <sys/mman.h>

#include <string>
#include <utility>

namespace penumbra {

MappedRegion::MappedRegion(MappedRegion&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedRegion& MappedRegion::operator=(MappedRegion&& other) noexcept {
    if (this != &other) {
        if (data_ != nullptr) ::munmap(data_, size_);
        data_ = std::exchange(other.data_, nullptr);
        size_ = std::exchange(other.size_, 0);
    }
    return *this;
}

MappedRegion::~MappedRegion() {
    if (data_ != nullptr) ::munmap(data_, size_);
}

Result<MappedRegion> MappedRegion::anonymous(std::size_t bytes, std::size_t alignment) {
    PENUMBRA_ASSERT(bytes > 0 && bytes % page_bytes == 0, "anonymous mapping of a partial page");
    PENUMBRA_ASSERT(alignment >= page_bytes && (alignment & (alignment - 1)) == 0, "mapping alignment");
    const std::size_t slack = alignment - page_bytes;
    void* raw =
        ::mmap(nullptr, bytes + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED) return fail_errno("map", std::to_string(bytes) + " bytes of memory");
    const auto start = reinterpret_cast<std::uintptr_t>(raw);
    const std::uintptr_t aligned = (start + alignment - 1) & ~(alignment - 1);
    if (aligned > start) ::munmap(raw, aligned - start);
    const std::size_t tail = start + slack - aligned;
    auto* data = static_cast<std::byte*>(raw) + (aligned - start);
    if (tail > 0) ::munmap(data + bytes, tail);
    // What is mapped here is used in pieces and accounted by the page: a huge page would hold memory that nobody asked
    // for, and where a piece of it is an I/O buffer, pin what is none. Kernels without huge pages answer EINVAL.
    if (::madvise(data, bytes, MADV_NOHUGEPAGE) != 0 && errno != EINVAL) return fail_errno("switch off", "huge pages");
    return MappedRegion{data, bytes};
}

Result<MappedRegion> MappedRegion::shared_file(int fd, std::size_t bytes, std::size_t offset, MapAccess access) {
    const int protection = access == MapAccess::read ? PROT_READ : PROT_READ | PROT_WRITE;
    void* raw = ::mmap(nullptr, bytes, protection, MAP_SHARED, fd, static_cast<off_t>(offset));
    if (raw == MAP_FAILED) return fail_errno("map", "file descriptor " + std::to_string(fd));
    return MappedRegion{static_cast<std::byte*>(raw), bytes};
}

Result<MappedRegion> MappedRegion::reserve(std::size_t bytes) {
    void* raw = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED) return fail_errno("reserve", std::to_string(bytes) + " bytes of address space");
    return MappedRegion{static_cast<std::byte*>(raw), bytes};
}

Result<> MappedRegion::place_file(std::size_t offset, int fd, std::size_t bytes) {
    PENUMBRA_ASSERT(offset % page_bytes == 0 && offset <= size_ && bytes <= size_ - offset,
                    "file placed outside its region");
    void* raw = ::mmap(data_ + offset, bytes, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0);
    if (raw == MAP_FAILED) return fail_errno("map", "file descriptor " + std::to_string(fd));
    return {};
}

void MappedRegion::discard(std::size_t offset, std::size_t bytes) {
    PENUMBRA_ASSERT(offset % page_bytes == 0 && bytes % page_bytes == 0, "discard of a partial page");
    PENUMBRA_ASSERT(offset <= size_ && bytes <= size_ - offset, "discard outside its region");
    const int rc = ::madvise(data_ + offset, bytes, MADV_DONTNEED);
    PENUMBRA_ASSERT(rc == 0, "the kernel refused to take memory back");
}

Result<> MappedRegion::keep_private() {
    if (::madvise(data_, size_, MADV_DONTFORK) != 0) return fail_errno("keep from child processes", "a mapping");
    return {};
}

}  // namespace penumbra
