// Sole owner of a mapping: the one place, with the window and the bracketed memory operations, that calls mmap.
#pragma once

#include <cstddef>
#include <span>

#include "base/range.hpp"
#include "base/result.hpp"

namespace penumbra {

enum class MapAccess : unsigned char { read, read_write };

class MappedRegion {
public:
    MappedRegion() = default;
    MappedRegion(MappedRegion&& other) noexcept;
    MappedRegion& operator=(MappedRegion&& other) noexcept;
    MappedRegion(const MappedRegion&) = delete;
    MappedRegion& operator=(const MappedRegion&) = delete;
    ~MappedRegion();

    /// Private anonymous memory of 4 KiB pages only, not reserved and not populated; `bytes` is a positive multiple of
    /// the page size. `alignment` is a power of two of at least a page.
    [[nodiscard]] static Result<MappedRegion> anonymous(std::size_t bytes, std::size_t alignment = page_bytes);
    /// `bytes` of a file or device at `offset`, shared with every other mapping of it.
    [[nodiscard]] static Result<MappedRegion> shared_file(int fd, std::size_t bytes, std::size_t offset,
                                                          MapAccess access);
    /// Reserves address space that faults on every touch, to place read-only private file mappings in.
    [[nodiscard]] static Result<MappedRegion> reserve(std::size_t bytes);
    /// Replaces the pages at `offset` of a reservation with a private read-only mapping of the first `bytes` of `fd`.
    [[nodiscard]] Result<> place_file(std::size_t offset, int fd, std::size_t bytes);

    /// Gives the memory of whole pages back to the kernel; they read as zeroes again. For anonymous regions.
    void discard(std::size_t offset, std::size_t bytes);

    /// Not inherited by children of fork(2): a page that is shared cannot be moved.
    [[nodiscard]] Result<> keep_private();

    [[nodiscard]] std::byte* data() const { return data_; }
    [[nodiscard]] std::size_t size() const { return size_; }
    [[nodiscard]] std::span<std::byte> bytes() const { return {data_, size_}; }
    [[nodiscard]] Hva address() const { return hva_of(data_); }
    [[nodiscard]] HvpRange pages() const { return {frame_of(address()), size_ >> page_shift}; }
    [[nodiscard]] explicit operator bool() const { return data_ != nullptr; }

private:
    MappedRegion(std::byte* data, std::size_t size) : data_(data), size_(size) {}

    std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace penumbra
