// Features of the rings and the transport, as bits (Virtual I/O Device 1.2, section 6).
#pragma once

#include <cstdint>

namespace penumbra::vmm::virtio_feature {

inline constexpr std::uint64_t indirect_desc = std::uint64_t{1} << 28;
inline constexpr std::uint64_t event_idx = std::uint64_t{1} << 29;
inline constexpr std::uint64_t version_1 = std::uint64_t{1} << 32;

}  // namespace penumbra::vmm::virtio_feature
