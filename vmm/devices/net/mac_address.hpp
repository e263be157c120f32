// Ethernet addresses.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace penumbra::vmm {

using MacAddress = std::array<std::uint8_t, 6>;

/// "52:54:00:12:34:56". Refuses what cannot be one card's address: groups, and all zeroes.
[[nodiscard]] Result<MacAddress> parse_mac(std::string_view text);
[[nodiscard]] std::string to_text(const MacAddress& mac);
/// The same for the same text, always; locally administered (IEEE 802, 8.2.2), so that it is no maker's.
[[nodiscard]] MacAddress derive_mac(std::string_view identity);

}  // namespace penumbra::vmm
