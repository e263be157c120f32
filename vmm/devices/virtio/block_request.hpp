// One request of a virtio disk (virtio 1.2, 5.2.6): header, data, status, each as the pages it lies in come.
#pragma once

#include <linux/virtio_blk.h>

#include <chrono>
#include <cstdint>
#include <list>
#include <memory>

#include "vmm/devices/virtio/block_engine.hpp"
#include "vmm/devices/virtio/block_ranges.hpp"
#include "vmm/devices/virtio/block_work.hpp"
#include "vmm/devices/virtio/chain_parser.hpp"

namespace penumbra::vmm {

/// Whether a write is on the medium before its request ends (5.2.6.2: it is unless the driver negotiated FLUSH).
enum class WriteCache : std::uint8_t { write_back, write_through };

class BlockRequest final : public BlockTask {
public:
    /// `chain` has a header and a status byte: see makes_sense().
    BlockRequest(BlockEngine& engine, unsigned queue, Chain chain, WriteCache cache);
    [[nodiscard]] Next run() override;

    /// Room for a header and a status.
    [[nodiscard]] static bool makes_sense(const Chain& chain);

    // ---- once it has ended ----
    [[nodiscard]] unsigned queue() const { return queue_; }
    [[nodiscard]] const Chain& chain() const { return chain_; }
    /// Bytes from the start of the writable segments that hold an answer.
    [[nodiscard]] std::uint32_t written() const;
    /// False: header or status lies outside RAM, so that the driver cannot even be told.
    [[nodiscard]] bool answered() const { return phase_ == Phase::answered; }

    std::list<std::unique_ptr<BlockRequest>>::iterator place;  ///< the owner's

private:
    enum class Phase : std::uint8_t { header, data, sync, status, answered, unanswerable };

    [[nodiscard]] bool read_header();
    void begin();
    void begin_transfer(DiskIo::Direction direction);
    void begin_ranges(RangeVerb verb);
    void begin_reply();
    [[nodiscard]] bool move_data();
    [[nodiscard]] bool sync();
    [[nodiscard]] bool write_status();
    void settle_status();
    void count();

    BlockEngine& engine_;
    const unsigned queue_;
    const Chain chain_;
    const WriteCache cache_;
    const std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();

    Phase phase_ = Phase::header;
    SegmentCursor readable_;
    SegmentCursor writable_;
    virtio_blk_outhdr header_{};
    std::size_t have_ = 0;  // bytes of the header
    std::unique_ptr<BlockWork> work_;
    std::uint64_t data_bytes_ = 0;  // that IN and OUT move
    std::uint64_t filled_ = 0;      // writable bytes that hold an answer if all goes well
    bool changes_disk_ = false;
    bool synced_ = false;
    std::uint8_t status_ = VIRTIO_BLK_S_OK;
};

}  // namespace penumbra::vmm
