// Attaching to a tap interface that somebody made for us.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace penumbra::vmm {

struct OpenTap {
    UniqueFd file;             ///< non-blocking; frames with a header of net_header_bytes
    std::uint64_t offloads{};  ///< virtio-net feature bits that its kernel carries out
    std::uint16_t mtu{};
};

[[nodiscard]] Result<OpenTap> open_tap(const std::string& name);

/// What the kernel may leave to the guest: TUNSETOFFLOAD's bits for negotiated virtio-net features.
[[nodiscard]] unsigned tap_offloads(std::uint64_t features);

}  // namespace penumbra::vmm
