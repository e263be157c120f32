// The ways in which a request moves data. Each is part of one request and ends before it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "vmm/devices/virtio/block_engine.hpp"
#include "vmm/devices/virtio/segments.hpp"

namespace penumbra::vmm {

class BlockWork {
public:
    BlockWork() = default;
    BlockWork(const BlockWork&) = delete;
    BlockWork& operator=(const BlockWork&) = delete;
    virtual ~BlockWork() = default;

    /// Goes as far as it can; true once everything is done. Not called again after the task failed.
    [[nodiscard]] virtual bool go_on() = 0;
};

/// What IN and OUT move: `bytes` of the segments from the cursor on, at `offset` of the disk. In range of the disk.
struct BlockExtent {
    DiskIo::Direction direction{};
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
    SegmentCursor memory;

    /// Of what the device does to memory while the disk is read or written.
    [[nodiscard]] mmu::FaultAccess access() const {
        return direction == DiskIo::Direction::read ? mmu::FaultAccess::write : mmu::FaultAccess::read;
    }
    void advance(std::uint64_t done) {
        memory.advance(done);
        offset += done;
        bytes -= done;
    }
};

/// Every piece of memory begins and ends at a multiple of `block`, which is a power of two.
[[nodiscard]] bool is_aligned(const BlockExtent& extent, std::uint32_t block);

/// The kernel reads and writes guest pages itself, in as few requests as the present pages allow. Pages that are absent
/// are asked for while the rest goes on, and each gets a kernel request of its own the moment it comes: keeping it
/// until its neighbours have come could wait for ever.
class StraightTransfer final : public BlockWork {
public:
    StraightTransfer(BlockEngine& engine, BlockTask& task, const BlockExtent& extent)
        : engine_(engine), task_(task), rest_(extent) {}
    [[nodiscard]] bool go_on() override;

    static constexpr std::size_t pieces_at_once = 128;
    static constexpr std::uint64_t bytes_at_once = 1U << 20;  // what evictions may have to wait for
    // Of one request, however long its driver made it: others want their share.
    static constexpr unsigned operations_at_once = 16;
    static constexpr unsigned wishes_at_once = 32;

private:
    struct Run {
        std::vector<iovec> pieces;
        std::vector<DmaHold> holds;
        std::uint64_t bytes = 0;
    };
    [[nodiscard]] bool dispatch();
    [[nodiscard]] std::optional<DmaMiss> gather(Run& run);
    [[nodiscard]] bool wish();
    void granted(const BlockExtent& piece, DmaGrant grant);

    BlockEngine& engine_;
    BlockTask& task_;
    BlockExtent rest_;  // neither begun nor wished for
};

/// Through a buffer, chunk by chunk: what direct I/O cannot do because guest memory is not aligned to the disk's
/// blocks, which the standard lets a driver do (virtio 1.2, 2.7.4: framing is the driver's choice).
class BouncedTransfer final : public BlockWork {
public:
    BouncedTransfer(BlockEngine& engine, BlockTask& task, const BlockExtent& extent);
    [[nodiscard]] bool go_on() override;

    static constexpr std::size_t buffer_bytes = 64U << 10;

private:
    enum class Phase : std::uint8_t { memory, disk, in_flight };
    [[nodiscard]] bool reading() const { return rest_.direction == DiskIo::Direction::read; }
    [[nodiscard]] bool copy();
    [[nodiscard]] bool begin_io();
    void next_chunk();

    BlockEngine& engine_;
    BlockTask& task_;
    BlockExtent rest_;  // its memory is ahead of its disk by `copied_` at most
    struct Free {
        void operator()(std::byte* buffer) const { ::operator delete[](buffer, std::align_val_t{page_bytes}); }
    };
    std::unique_ptr<std::byte[], Free> buffer_;
    std::size_t chunk_ = 0;   // bytes of the buffer in use
    std::size_t copied_ = 0;  // of them, from or to the guest
    Phase phase_ = Phase::memory;
};

/// Answers from the device itself: GET_ID.
class ReplyWork final : public BlockWork {
public:
    ReplyWork(BlockEngine& engine, BlockTask& task, SegmentCursor memory, std::span<const std::byte> reply)
        : engine_(engine), task_(task), memory_(memory), reply_(reply.begin(), reply.end()) {}
    [[nodiscard]] bool go_on() override;

private:
    BlockEngine& engine_;
    BlockTask& task_;
    SegmentCursor memory_;
    std::vector<std::byte> reply_;
    std::size_t done_ = 0;
};

}  // namespace penumbra::vmm
