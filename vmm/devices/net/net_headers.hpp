// What may stand in the header of a frame, by what was negotiated (Virtual I/O Device 1.2, 5.1.6.2 and 5.1.6.4).
#pragma once

#include <cstddef>
#include <cstdint>

#include "vmm/devices/net/net_packet.hpp"

namespace penumbra::vmm {

enum class HeaderCheck : std::uint8_t { sound, unsound };

/// A frame from the guest: everything in it is hostile. What is sound may still be nonsense to the host's kernel, which
/// checks for itself.
[[nodiscard]] HeaderCheck check_transmit(const NetHeader& header, std::size_t frame_bytes, std::uint64_t features);
/// A frame from the host, made for the features of an earlier driver perhaps: `unsound` is for none of this driver's.
/// Clears what this driver must not see.
[[nodiscard]] HeaderCheck fit_receive(NetHeader& header, std::uint64_t features);

}  // namespace penumbra::vmm
