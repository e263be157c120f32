// Which frames may make a user network open a socket.
#pragma once

#include <cstddef>
#include <span>

namespace penumbra::vmm {

/// True for the first segment of a TCP connection, for what is not TCP (UDP and echo requests), and for IPv4 whose
/// transport cannot be seen (fragments, cut headers). The frame is hostile.
[[nodiscard]] bool opens_socket(std::span<const std::byte> frame);

}  // namespace penumbra::vmm
