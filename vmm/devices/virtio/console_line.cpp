#include "vmm/devices/virtio/console_line.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace penumbra::vmm {

Result<ConsoleLine::Made> ConsoleLine::create(ConsolePeer& peer, IoLoop& loop) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return fail_errno("make a pipe for the virtio console");
    UniqueFd input(ends[0]);
    return Made{std::unique_ptr<ConsoleLine>(new ConsoleLine(peer, loop, ends[1])), std::move(input)};
}

std::size_t ConsoleLine::receive(std::span<const std::byte> bytes) {
    const ssize_t taken = ::write(pipe_.native_handle(), bytes.data(), bytes.size());
    if (taken < 0 && errno == EPIPE) return bytes.size();  // the console has ended: nobody reads any more
    const std::size_t count = taken > 0 ? static_cast<std::size_t>(taken) : 0;
    if (count < bytes.size()) loop_.post([this] { tell_when_there_is_room(); });
    return count;
}

void ConsoleLine::tell_when_there_is_room() {
    pipe_.async_wait(boost::asio::posix::stream_descriptor::wait_write, [this](const boost::system::error_code& error) {
        if (!error) peer_.ready_for_more();
    });
}

}  // namespace penumbra::vmm
