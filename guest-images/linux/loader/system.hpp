// Small pieces around Linux's system calls. Errors are text: one line that says what failed and why.
#pragma once

#include <expected>
#include <string>
#include <utility>

namespace penumbra::loader {

template <class T = void>
using Outcome = std::expected<T, std::string>;

/// "cannot ACT: errno's text".
[[nodiscard]] std::unexpected<std::string> failed(const std::string& act);

/// An open file; closes itself.
class File {
public:
    File() = default;
    explicit File(int fd) : fd_(fd) {}
    File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    File& operator=(File&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    ~File();

    [[nodiscard]] int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }

private:
    int fd_ = -1;
};

/// The whole of a small file, such as one in /sys, without the line end; empty if it cannot be read.
[[nodiscard]] std::string small_file(const std::string& path);

/// Loads the modules named in /lib/modules/LIST, in that order. No such list: nothing to load.
[[nodiscard]] Outcome<> load_modules(const std::string& list);

}  // namespace penumbra::loader
