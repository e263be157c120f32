#include <algorithm>
#include <cerrno>
#include <new>

#include "vmm/devices/virtio/block_work.hpp"

namespace penumbra::vmm {

BouncedTransfer::BouncedTransfer(BlockEngine& engine, BlockTask& task, const BlockExtent& extent)
    : engine_(engine), task_(task), rest_(extent) {
    const std::size_t bytes = std::min<std::uint64_t>(extent.bytes, buffer_bytes);
    buffer_.reset(new (std::align_val_t{page_bytes}) std::byte[bytes]);
    next_chunk();
}

void BouncedTransfer::next_chunk() {
    chunk_ = std::min<std::uint64_t>(rest_.bytes, buffer_bytes);
    copied_ = 0;
    phase_ = reading() ? Phase::disk : Phase::memory;
}

bool BouncedTransfer::go_on() {
    while (rest_.bytes > 0 && task_.error() == 0) {
        switch (phase_) {
            case Phase::memory:
                if (!copy()) return false;
                if (!reading()) {
                    phase_ = Phase::disk;
                    break;
                }
                rest_.offset += chunk_;
                rest_.bytes -= chunk_;
                next_chunk();
                break;
            case Phase::disk:
                if (!begin_io()) return false;
                phase_ = Phase::in_flight;
                [[fallthrough]];
            case Phase::in_flight:
                if (!task_.idle()) return false;
                if (reading()) {
                    phase_ = Phase::memory;
                    break;
                }
                rest_.offset += chunk_;
                rest_.bytes -= chunk_;
                next_chunk();
                break;
        }
    }
    return task_.idle();
}

/// Between the guest and the buffer, from where the last call stopped; false: a page is on its way.
bool BouncedTransfer::copy() {
    if (!task_.idle()) return false;
    const std::span<std::byte> left{buffer_.get() + copied_, chunk_ - copied_};
    const Copied done = reading() ? copy_to_guest(engine_.dma(), rest_.memory, left)
                                  : copy_from_guest(engine_.dma(), rest_.memory, left);
    copied_ += done.bytes;
    if (done.stopped == DmaMiss::absent) {
        engine_.want(task_, engine_.dma().missing(), rest_.access(), {});
        return false;
    }
    if (done.stopped) task_.fail(EFAULT);
    return true;
}

bool BouncedTransfer::begin_io() {
    if (!engine_.take(BlockEngine::Token::present, task_)) return false;
    engine_.counters().bounced.add();
    engine_.counters().bounced_bytes.add(chunk_);
    const iovec piece{buffer_.get(), chunk_};
    engine_.transfer(task_, BlockEngine::Token::present, rest_.direction, rest_.offset, {&piece, 1}, {});
    return true;
}

bool ReplyWork::go_on() {
    if (!task_.idle()) return false;
    const Copied copied = copy_to_guest(engine_.dma(), memory_, std::span<const std::byte>{reply_}.subspan(done_));
    done_ += copied.bytes;
    if (copied.stopped == DmaMiss::absent) {
        engine_.want(task_, engine_.dma().missing(), mmu::FaultAccess::write, {});
        return false;
    }
    if (copied.stopped) task_.fail(EFAULT);
    return true;
}

}  // namespace penumbra::vmm
