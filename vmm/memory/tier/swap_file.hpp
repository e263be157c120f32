// The file, unnamed file or block device under a file tier: opened with care, locked against a second VM, grown on
// demand.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace penumbra::vmm {

/// Direct I/O bypasses the page cache; buffered is the fallback where a file system has none.
enum class CacheMode : std::uint8_t { direct, buffered };

/// What ends with the file's use.
enum class AtClose : std::uint8_t { keep, truncate, unlink };

class SwapFile {
public:
    /// A missing `path` is created and unlinked at the end; a directory gets an unnamed file; an empty file is used and
    /// emptied at the end; a block device is used as it is. A file with contents, or one in use, is refused.
    [[nodiscard]] static Result<SwapFile> open(const std::string& path);
    SwapFile(SwapFile&&) = default;
    SwapFile& operator=(SwapFile&&) = delete;
    ~SwapFile();

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] CacheMode cache_mode() const { return cache_mode_; }
    /// Bytes of a block device, which cannot grow; 0 for files.
    [[nodiscard]] std::uint64_t device_bytes() const { return device_bytes_; }
    /// Backs bytes `from` to `to` with space on the medium.
    [[nodiscard]] Result<> grow(std::uint64_t from, std::uint64_t to) const;

private:
    SwapFile(std::string path, UniqueFd fd, AtClose at_close)
        : path_(std::move(path)), fd_(std::move(fd)), at_close_(at_close) {}

    [[nodiscard]] Result<> claim();
    [[nodiscard]] Result<> look_at_kind();
    void try_direct_io();

    std::string path_;
    UniqueFd fd_;
    AtClose at_close_;
    CacheMode cache_mode_ = CacheMode::buffered;
    std::uint64_t device_bytes_ = 0;
};

}  // namespace penumbra::vmm
