// A listening Unix socket and its file.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace penumbra::vmm {

/// Sole owner of both. The file is removed with this, unless another has taken its place.
class SocketFile {
public:
    /// Mode 0600. Refused where anything is already, a dead socket too: whose it is, only the user knows.
    [[nodiscard]] static Result<SocketFile> listen(const std::string& path);
    SocketFile(SocketFile&& other) noexcept;
    SocketFile& operator=(SocketFile&&) = delete;
    SocketFile(const SocketFile&) = delete;
    SocketFile& operator=(const SocketFile&) = delete;
    ~SocketFile() { close(); }

    /// The listening descriptor once more, for a library that wants to own one.
    [[nodiscard]] Result<int> duplicate() const;
    void close();

private:
    SocketFile(UniqueFd fd, std::string path, dev_t device, ino_t inode)
        : fd_(std::move(fd)), path_(std::move(path)), device_(device), inode_(inode) {}

    UniqueFd fd_;
    std::string path_;  // empty: nothing to remove
    dev_t device_;
    ino_t inode_;
};

}  // namespace penumbra::vmm
