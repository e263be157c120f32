// The line from the user to a virtio console: a pipe, because the console takes its input from a descriptor.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <memory>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "vmm/devices/console_port.hpp"
#include "vmm/devices/io_loop.hpp"

namespace penumbra::vmm {

/// Thread-safe. Loop and peer outlive it; destroyed once the loop has stopped.
class ConsoleLine final : public ConsolePort {
public:
    struct Made;
    /// The line, and the end that the console reads.
    [[nodiscard]] static Result<Made> create(ConsolePeer& peer, IoLoop& loop);

    [[nodiscard]] std::size_t receive(std::span<const std::byte> bytes) override;

private:
    ConsoleLine(ConsolePeer& peer, IoLoop& loop, int pipe) : peer_(peer), loop_(loop), pipe_(loop.context(), pipe) {}
    void tell_when_there_is_room();

    ConsolePeer& peer_;
    IoLoop& loop_;
    boost::asio::posix::stream_descriptor pipe_;
};

struct ConsoleLine::Made {
    std::unique_ptr<ConsoleLine> line;
    UniqueFd input;
};

}  // namespace penumbra::vmm
