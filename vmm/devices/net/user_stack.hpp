// A network for one guest made of the VMM's own sockets (libslirp): DHCP, a gateway that is the host, name service.
#pragma once

#include <poll.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "vmm/devices/net/net_options.hpp"

struct Slirp;

namespace penumbra::vmm {

/// One thread at a time; SIGPIPE is blocked on it (the library writes to sockets whose peers have gone).
class UserStack {
public:
    struct Outside {
        std::function<void(std::span<const std::byte>)> to_guest;  ///< an Ethernet frame
        std::function<void(std::string_view)> guest_error;         ///< what the library says about the guest's faults
    };
    static constexpr std::size_t most_frame_bytes = 1514;  ///< both ways
    /// Sockets beyond which the guest opens no more: they are the VMM's file descriptors.
    static constexpr std::size_t most_sockets = 512;

    /// Refused forwards are told with port and cure.
    [[nodiscard]] static Result<std::unique_ptr<UserStack>> create(const NetOptions& options, Outside outside);
    ~UserStack();
    UserStack(const UserStack&) = delete;
    UserStack& operator=(const UserStack&) = delete;

    enum class Input : std::uint8_t { taken, refused };
    /// A frame from the guest, whatever it holds. Refused: too long, or it would open one socket too many.
    [[nodiscard]] Input input(std::span<const std::byte> frame);
    [[nodiscard]] std::size_t sockets() const { return sockets_.size(); }
    /// Waits until a socket or `wake` is readable or a timer of the network ends, but no longer than `most`; then does
    /// what sockets and timers ask for.
    void serve(int wake, std::chrono::milliseconds most);
    /// Time goes by without the network: nothing ages.
    void skip(std::chrono::nanoseconds time) { skipped_ += time; }

private:
    struct Callbacks;

    explicit UserStack(Outside outside) : outside_(std::move(outside)) {}
    [[nodiscard]] Result<> forward(const NetForward& forward);

    const Outside outside_;
    Slirp* slirp_ = nullptr;
    std::chrono::nanoseconds skipped_{0};
    std::vector<pollfd> polled_;
    std::unordered_set<int> sockets_;
};

}  // namespace penumbra::vmm
