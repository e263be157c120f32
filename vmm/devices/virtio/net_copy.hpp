// What the two directions of a network card share, and the copying of one packet between a buffer of the host's and
// guest memory whose pages may be out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>

#include "vmm/devices/dma/dma_space.hpp"
#include "vmm/devices/net/net_link.hpp"
#include "vmm/devices/virtio/net_counters.hpp"
#include "vmm/devices/virtio/segments.hpp"
#include "vmm/devices/virtio/virtqueue.hpp"

namespace penumbra::vmm {

/// Outlives what works with it.
struct NetParts {
    Virtqueue& queue;
    DmaClient& dma;
    NetLink& link;
    NetCounters& counters;
    IoLoop& loop;
    std::function<bool()> running;  ///< the device is active and not paused
    std::function<std::uint64_t()> features;
    std::function<void(Gfn, mmu::FaultAccess, DmaClient::Then)> want;
};

/// Packets of one direction that are being copied at once, so that their waits for pages overlap.
inline constexpr std::size_t net_window = 32;

/// Copies what is present at once and each absent page when it comes, in whatever order that is. Stays where it is
/// from start() until it has ended or all wishes were forgotten.
class NetCopy {
public:
    enum class Direction : std::uint8_t { from_guest, to_guest };
    enum class State : std::uint8_t { going, done, not_ram };
    /// Pages that one packet waits for at once; a frame of 64 KiB lies on 17 if the driver means well.
    static constexpr unsigned most_wishes = 24;

    /// `ended` is called when the state changes after start().
    NetCopy(const NetParts& parts, Direction direction, std::function<void()> ended)
        : parts_(parts), direction_(direction), ended_(std::move(ended)) {}
    NetCopy(const NetCopy&) = delete;
    NetCopy& operator=(const NetCopy&) = delete;

    /// `guest` has as many bytes as `host`, or more. Once.
    State start(SegmentCursor guest, std::span<std::byte> host);
    [[nodiscard]] State state() const { return state_; }

private:
    struct Piece {
        Gpa guest;
        std::span<std::byte> host;
    };

    void go_on();
    void wish();
    void granted(const Piece& piece, DmaGrant grant);
    [[nodiscard]] bool copy(const Piece& piece);

    const NetParts& parts_;
    const Direction direction_;
    const std::function<void()> ended_;
    SegmentCursor guest_;
    std::span<std::byte> host_;  // what is left
    unsigned wishes_ = 0;
    State state_ = State::going;
};

}  // namespace penumbra::vmm
