// A network frame on its way between guest and host, with the header that says what is left to do for it.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

#include "base/assert.hpp"
#include "vmm/devices/net/net_format.hpp"

namespace penumbra::vmm {

inline constexpr std::size_t ethernet_header_bytes = 14;
/// The longest that segmentation offload makes, with a VLAN tag.
inline constexpr std::size_t most_frame_bytes = 65536 + ethernet_header_bytes + 4;
inline constexpr std::size_t most_packet_bytes = net_header_bytes + most_frame_bytes;

/// Header and frame, one behind the other. Keeps its storage for the next one.
class NetPacket {
public:
    /// Makes it `bytes` long; what stands in them does not matter yet.
    std::span<std::byte> room(std::size_t bytes) {
        if (storage_.size() < bytes) storage_.resize(bytes);
        bytes_ = bytes;
        return std::span(storage_).first(bytes);
    }
    void shorten(std::size_t bytes) {
        PENUMBRA_ASSERT(bytes <= bytes_, "a packet is shortened to less");
        bytes_ = bytes;
    }

    [[nodiscard]] std::size_t size() const { return bytes_; }
    [[nodiscard]] std::span<std::byte> bytes() { return std::span(storage_).first(bytes_); }
    [[nodiscard]] std::span<const std::byte> bytes() const { return std::span(storage_).first(bytes_); }
    /// Both assert that there is a header.
    [[nodiscard]] NetHeader header() const {
        PENUMBRA_ASSERT(bytes_ >= net_header_bytes, "a packet has a header");
        NetHeader header{};
        std::memcpy(&header, storage_.data(), sizeof(header));
        return header;
    }
    void set_header(const NetHeader& header) {
        PENUMBRA_ASSERT(bytes_ >= net_header_bytes, "a packet has a header");
        std::memcpy(storage_.data(), &header, sizeof(header));
    }
    [[nodiscard]] std::span<const std::byte> frame() const {
        PENUMBRA_ASSERT(bytes_ >= net_header_bytes, "a packet has a header");
        return bytes().subspan(net_header_bytes);
    }

private:
    std::vector<std::byte> storage_;
    std::size_t bytes_ = 0;
};

}  // namespace penumbra::vmm
