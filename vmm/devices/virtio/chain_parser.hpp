// One descriptor chain, read from guest memory as its pages come (Virtual I/O Device 1.2, 2.7.5).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "vmm/devices/dma/dma_space.hpp"
#include "vmm/devices/virtio/segments.hpp"

namespace penumbra::vmm {

/// A request as the driver described it. The device reads `readable` and fills `writable`, each in order.
struct Chain {
    std::uint16_t head = 0;      ///< names the chain in the used ring
    std::uint32_t session = 0;   ///< of the queue that it came from
    std::uint64_t sequence = 0;  ///< its place in the order of the available ring, from 0 at every start
    std::vector<Segment> readable;
    std::vector<Segment> writable;
    std::uint64_t readable_bytes = 0;
    std::uint64_t writable_bytes = 0;  ///< both together at most 2^32 (2.7.4: no longer chain)
};

/// What a chain may look like on its queue.
struct ChainRules {
    Gpa descriptors;
    std::uint16_t queue_size = 0;
    bool indirect = false;  ///< INDIRECT_DESC was negotiated
};

/// Reads every descriptor once: what the driver changes afterwards does not matter.
class ChainParser {
public:
    /// Segments of one chain, beyond which it is refused. Direct chains are bounded by the queue's size as well.
    static constexpr std::size_t max_segments = 1024;

    ChainParser(const ChainRules& rules, std::uint16_t head, std::uint32_t session, std::uint64_t sequence);

    enum class Step : std::uint8_t {
        done,    ///< take() it
        absent,  ///< DmaClient::missing() is wanted for reading; then go_on() again
        broken,  ///< why() says what is wrong with it
    };
    [[nodiscard]] Step go_on(DmaClient& dma);
    [[nodiscard]] Chain take() { return std::move(chain_); }
    [[nodiscard]] std::string_view why() const { return why_; }
    [[nodiscard]] std::uint64_t sequence() const { return chain_.sequence; }

private:
    struct Descriptor {
        std::uint64_t address;
        std::uint32_t length;
        std::uint16_t flags;
        std::uint16_t next;
    };
    static_assert(sizeof(Descriptor) == 16);

    [[nodiscard]] Step broken(std::string_view why);
    [[nodiscard]] Step read_descriptor(DmaClient& dma);
    /// nothing: the chain goes on.
    [[nodiscard]] std::optional<Step> use(const Descriptor& descriptor);
    [[nodiscard]] std::optional<Step> enter_indirect(const Descriptor& descriptor);
    [[nodiscard]] std::optional<Step> add_segment(const Descriptor& descriptor);

    ChainRules rules_;
    Chain chain_;
    Gpa table_;
    std::uint32_t table_entries_ = 0;
    bool in_indirect_ = false;
    std::uint32_t index_ = 0;
    std::uint32_t followed_ = 0;  // descriptors of this table
    std::array<std::byte, sizeof(Descriptor)> bytes_{};
    std::size_t have_ = 0;  // of bytes_
    std::string_view why_;
};

}  // namespace penumbra::vmm
