#include "vmm/devices/virtio/block_request.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <span>
#include <utility>

namespace penumbra::vmm {

BlockRequest::BlockRequest(BlockEngine& engine, unsigned queue, Chain chain, WriteCache cache)
    : engine_(engine),
      queue_(queue),
      chain_(std::move(chain)),
      cache_(cache),
      readable_(chain_.readable),
      writable_(chain_.writable) {}

bool BlockRequest::makes_sense(const Chain& chain) {
    return chain.readable_bytes >= sizeof(virtio_blk_outhdr) && chain.writable_bytes >= 1;
}

std::uint32_t BlockRequest::written() const {
    // The status is the last byte, so it counts only behind an answer that reaches up to it.
    const std::uint64_t room = chain_.writable_bytes - 1;
    const std::uint64_t filled = status_ == VIRTIO_BLK_S_OK ? filled_ : 0;
    return static_cast<std::uint32_t>(
        std::min<std::uint64_t>(filled == room ? room + 1 : filled, std::numeric_limits<std::uint32_t>::max()));
}

BlockTask::Next BlockRequest::run() {
    if (phase_ == Phase::header) {
        if (!read_header()) return Next::waits;
        if (phase_ == Phase::unanswerable) return Next::ended;
        begin();
    }
    if (phase_ == Phase::data && !move_data()) return Next::waits;
    if (phase_ == Phase::sync && !sync()) return Next::waits;
    if (phase_ == Phase::status && !write_status()) return Next::waits;
    return Next::ended;
}

bool BlockRequest::read_header() {
    if (!idle()) return false;
    const std::span<std::byte> header = std::as_writable_bytes(std::span{&header_, 1});
    const Copied copied = copy_from_guest(engine_.dma(), readable_, header.subspan(have_));
    have_ += copied.bytes;
    if (error() != 0 || copied.stopped == DmaMiss::not_ram) {
        phase_ = Phase::unanswerable;
        return true;
    }
    if (!copied.stopped) return true;
    engine_.want(*this, engine_.dma().missing(), mmu::FaultAccess::read, {});
    return false;
}

void BlockRequest::begin() {
    phase_ = Phase::data;
    switch (header_.type) {
        case VIRTIO_BLK_T_IN:
            return begin_transfer(DiskIo::Direction::read);
        case VIRTIO_BLK_T_OUT:
            return begin_transfer(DiskIo::Direction::write);
        case VIRTIO_BLK_T_FLUSH:
            if (engine_.file().writable()) phase_ = Phase::sync;
            return;
        case VIRTIO_BLK_T_GET_ID:
            return begin_reply();
        case VIRTIO_BLK_T_DISCARD:
            return begin_ranges(RangeVerb::discard);
        case VIRTIO_BLK_T_WRITE_ZEROES:
            return begin_ranges(RangeVerb::write_zeroes);
        default:
            status_ = VIRTIO_BLK_S_UNSUPP;
            return;
    }
}

void BlockRequest::begin_transfer(DiskIo::Direction direction) {
    const bool reading = direction == DiskIo::Direction::read;
    const DiskLimits& limits = engine_.file().limits();
    const std::uint32_t block = engine_.file().direct() ? limits.block : sector_bytes;
    const std::uint64_t bytes = reading ? writable_.left() - 1 : readable_.left();
    const std::uint64_t sectors = limits.bytes / sector_bytes;
    if (header_.sector > sectors || bytes > (sectors - header_.sector) * sector_bytes) return fail(ERANGE);
    if (bytes % block != 0 || header_.sector * sector_bytes % block != 0) return fail(EINVAL);
    if (!reading && !engine_.file().writable()) return fail(EROFS);
    changes_disk_ = !reading;
    data_bytes_ = bytes;
    if (reading) filled_ = bytes;
    const BlockExtent extent{direction, header_.sector * sector_bytes, bytes, reading ? writable_ : readable_};
    if (engine_.file().direct() && !is_aligned(extent, block)) {
        work_ = std::make_unique<BouncedTransfer>(engine_, *this, extent);
    } else {
        work_ = std::make_unique<StraightTransfer>(engine_, *this, extent);
    }
}

void BlockRequest::begin_ranges(RangeVerb verb) {
    if (!engine_.file().writable()) return fail(EROFS);
    changes_disk_ = true;
    work_ = std::make_unique<RangeWork>(engine_, *this, verb, readable_);
}

void BlockRequest::begin_reply() {
    const std::array<char, VIRTIO_BLK_ID_BYTES> serial = engine_.file().serial();
    const std::uint64_t bytes = std::min<std::uint64_t>(serial.size(), writable_.left() - 1);
    filled_ = bytes;
    work_ = std::make_unique<ReplyWork>(engine_, *this, writable_, std::as_bytes(std::span{serial}).first(bytes));
}

bool BlockRequest::move_data() {
    const bool done = error() != 0 || work_ == nullptr ? idle() : work_->go_on();
    if (!done || !idle()) return false;
    const auto* ranges = dynamic_cast<const RangeWork*>(work_.get());
    if (ranges != nullptr && ranges->unsupported()) status_ = VIRTIO_BLK_S_UNSUPP;
    const bool durable = changes_disk_ && cache_ == WriteCache::write_through;
    phase_ = durable && error() == 0 && status_ == VIRTIO_BLK_S_OK ? Phase::sync : Phase::status;
    settle_status();
    return true;
}

bool BlockRequest::sync() {
    if (!synced_) {
        if (!engine_.take(BlockEngine::Token::present, *this)) return false;
        engine_.sync(*this, BlockEngine::Token::present);
        synced_ = true;
    }
    if (!idle()) return false;
    phase_ = Phase::status;
    settle_status();
    return true;
}

void BlockRequest::settle_status() {
    if (phase_ != Phase::status) return;
    if (status_ == VIRTIO_BLK_S_OK && error() != 0) status_ = VIRTIO_BLK_S_IOERR;
    writable_.advance(writable_.left() - 1);
}

/// The last writable byte (5.2.6): whatever the driver's framing.
bool BlockRequest::write_status() {
    if (!idle()) return false;
    const Copied copied = copy_to_guest(engine_.dma(), writable_, std::as_bytes(std::span{&status_, 1}));
    if (copied.stopped == DmaMiss::absent) {
        engine_.want(*this, engine_.dma().missing(), mmu::FaultAccess::write, {});
        return false;
    }
    phase_ = copied.stopped ? Phase::unanswerable : Phase::answered;
    count();
    return true;
}

void BlockRequest::count() {
    BlockCounters& counters = engine_.counters();
    const bool fine = status_ == VIRTIO_BLK_S_OK;
    switch (header_.type) {
        case VIRTIO_BLK_T_IN:
            counters.reads.add();
            if (fine) counters.read_bytes.add(data_bytes_);
            break;
        case VIRTIO_BLK_T_OUT:
            counters.writes.add();
            if (fine) counters.written_bytes.add(data_bytes_);
            break;
        case VIRTIO_BLK_T_FLUSH:
            counters.flushes.add();
            break;
        case VIRTIO_BLK_T_DISCARD:
            counters.discards.add();
            break;
        case VIRTIO_BLK_T_WRITE_ZEROES:
            counters.write_zeroes.add();
            break;
        default:
            break;
    }
    if (status_ == VIRTIO_BLK_S_IOERR) counters.errors.add();
    if (status_ == VIRTIO_BLK_S_UNSUPP) counters.refused.add();
    const auto took = std::chrono::steady_clock::now() - since_;
    counters.latency.record(
        static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(took).count()));
}

}  // namespace penumbra::vmm
