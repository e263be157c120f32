#include "vmm/devices/net/mac_address.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include <charconv>

namespace penumbra::vmm {

namespace {

constexpr std::uint8_t group_bit = 1;
constexpr std::uint8_t local_bit = 2;

}  // namespace

Result<MacAddress> parse_mac(std::string_view text) {
    const auto refuse = [&](std::string why) {
        return fail("use", fmt::format("the Ethernet address '{}'", text), std::move(why));
    };
    MacAddress mac{};
    constexpr std::size_t text_bytes = 17;
    if (text.size() != text_bytes) return refuse("write six bytes, as in 52:54:00:12:34:56");
    for (std::size_t i = 0; i < mac.size(); ++i) {
        const char* const digits = text.data() + 3 * i;
        const auto [end, error] = std::from_chars(digits, digits + 2, mac[i], 16);
        if (error != std::errc{} || end != digits + 2 || (i + 1 < mac.size() && *end != ':')) {
            return refuse("write six bytes, as in 52:54:00:12:34:56");
        }
    }
    if ((mac[0] & group_bit) != 0) return refuse("it names a group; the first byte must be even");
    if (mac == MacAddress{}) return refuse("it names nobody");
    return mac;
}

std::string to_text(const MacAddress& mac) {
    return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

MacAddress derive_mac(std::string_view identity) {
    const std::uint64_t hash = XXH3_64bits(identity.data(), identity.size());
    MacAddress mac{};
    for (std::size_t i = 0; i < mac.size(); ++i) mac[i] = static_cast<std::uint8_t>(hash >> (8 * i));
    mac[0] = static_cast<std::uint8_t>((mac[0] & ~group_bit) | local_bit);
    return mac;
}

}  // namespace penumbra::vmm
