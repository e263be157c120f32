// A file that a guest boots from: read piece by piece, so that it never lies in our memory whole, and a file that
// shrinks meanwhile is an error, not a signal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "vmm/boot/guest_writer.hpp"

namespace penumbra::vmm {

class BootFile {
public:
    /// `role` names the file in errors: "the kernel". Refuses whatever is not a regular file with something in it.
    [[nodiscard]] static Result<BootFile> open(const std::string& path, const std::string& role);

    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] std::uint64_t size() const { return size_; }

    /// Fills `target` from `offset` on; an error if the file does not reach that far (any more).
    [[nodiscard]] Result<> read_at(std::uint64_t offset, std::span<std::byte> target) const;
    /// Writes `bytes` of the file from `offset` on to guest memory from `target` on.
    [[nodiscard]] Result<> copy(std::uint64_t offset, std::uint64_t bytes, Gpa target, const WriteGuest& write) const;

private:
    BootFile(UniqueFd fd, std::string path, std::uint64_t size)
        : fd_(std::move(fd)), path_(std::move(path)), size_(size) {}

    UniqueFd fd_;
    std::string path_;
    std::uint64_t size_;
};

}  // namespace penumbra::vmm
