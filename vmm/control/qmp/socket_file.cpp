#include "vmm/control/qmp/socket_file.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>
#include <utility>

namespace penumbra::vmm {

namespace {

constexpr const char* act = "listen on";

UniqueFd unix_socket() { return UniqueFd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)}; }

std::unexpected<Error> address_in_use(const std::string& path, const sockaddr_un& address) {
    struct stat status{};
    if (::lstat(path.c_str(), &status) == 0 && !S_ISSOCK(status.st_mode)) {
        return fail(act, path + ": something is there already", "remove it or name another path");
    }
    const UniqueFd probe = unix_socket();
    if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
        errno != ECONNREFUSED) {
        return fail(act, path + ": another program listens there", "name another path");
    }
    return fail(act, path + ": a socket that nobody listens on is there, left by a program that has ended",
                "remove it or name another path");
}

}  // namespace

Result<SocketFile> SocketFile::listen(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path) {
        return fail(act, path + ": not a path for a Unix socket", "give one of 1 to 107 bytes");
    }
    std::memcpy(address.sun_path, path.data(), path.size());
    UniqueFd fd = unix_socket();
    if (!fd) return fail_errno(act, path);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        if (errno == EADDRINUSE) return address_in_use(path, address);
        return fail_errno(act, path, "name another path");
    }
    struct stat status{};
    if (::lstat(path.c_str(), &status) != 0) return fail_errno(act, path, "name another path");
    SocketFile file{std::move(fd), path, status.st_dev, status.st_ino};
    // Nobody can connect before listen(), so nobody sees the wider mode that bind() gave.
    if (::chmod(path.c_str(), 0600) != 0 || ::listen(file.fd_.get(), SOMAXCONN) != 0) {
        return fail_errno(act, path, "name another path");
    }
    return file;
}

SocketFile::SocketFile(SocketFile&& other) noexcept
    : fd_(std::move(other.fd_)), path_(std::exchange(other.path_, {})), device_(other.device_), inode_(other.inode_) {}

Result<int> SocketFile::duplicate() const {
    const int copy = ::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0);
    if (copy < 0) return fail_errno(act, path_);
    return copy;
}

void SocketFile::close() {
    fd_.reset();
    struct stat status{};
    const bool ours =
        !path_.empty() && ::lstat(path_.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_;
    if (ours) ::unlink(path_.c_str());
    path_.clear();
}

}  // namespace penumbra::vmm
