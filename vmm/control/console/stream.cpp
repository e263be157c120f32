#include "vmm/control/console/stream.hpp"

#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace penumbra::vmm {

namespace {

// A pipe that polls writable takes as much as this without blocking (pipe(7)).
constexpr std::size_t piece = PIPE_BUF;

Stream::Step step(ssize_t result, StreamUse use) {
    if (result > 0) return static_cast<std::size_t>(result);
    if (result == 0) return use == StreamUse::input ? Stream::Step{Stream::Ended{}} : Stream::Blocked{};
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return Stream::Blocked{};
    return Stream::Ended{errno};
}

}  // namespace

Stream::Stream(int fd, StreamUse use) : shared_(fd), most_at_once_(piece) {
    struct stat status{};
    if (::fstat(fd, &status) != 0) return;  // the first step will tell
    socket_ = S_ISSOCK(status.st_mode);
    if (!S_ISCHR(status.st_mode) && !S_ISFIFO(status.st_mode)) return;
    const std::string path = "/proc/self/fd/" + std::to_string(fd);
    const int direction = use == StreamUse::input ? O_RDONLY : O_WRONLY;
    own_.reset(::open(path.c_str(), direction | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    // A terminal that polls writable has room for one byte at least.
    if (!own_ && S_ISCHR(status.st_mode)) most_at_once_ = 1;
}

Stream::Step Stream::read(std::span<std::byte> to) const {
    return step(::read(fd(), to.data(), std::min(to.size(), piece)), StreamUse::input);
}

Stream::Step Stream::write(std::span<const std::byte> from) const {
    const std::size_t bytes = std::min(from.size(), most_at_once_);
    const ssize_t result =
        socket_ ? ::send(fd(), from.data(), bytes, MSG_DONTWAIT | MSG_NOSIGNAL) : ::write(fd(), from.data(), bytes);
    return step(result, StreamUse::output);
}

}  // namespace penumbra::vmm
