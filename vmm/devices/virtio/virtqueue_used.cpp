// The device's side of the rings: giving chains back, and interrupting the driver when it asked for it.
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "base/assert.hpp"
#include "vmm/devices/virtio/full_fence.hpp"
#include "vmm/devices/virtio/virtqueue.hpp"

namespace penumbra::vmm {

static_assert(std::endian::native == std::endian::little, "rings are little-endian (2.7)");

namespace {

constexpr std::uint16_t available_flag_no_interrupt = 1;

}  // namespace

void Virtqueue::complete(const Chain& chain, std::uint32_t written) {
    if (state_ != State::running || chain.session != session_) return;
    PENUMBRA_ASSERT(with_device_[chain.head], "a chain goes back once");
    PENUMBRA_ASSERT(written <= chain.writable_bytes, "the device wrote more than the chain holds");
    with_device_[chain.head] = false;
    completed_.push_back({chain.head, written});
    flush();
}

void Virtqueue::flush() {
    if (state_ != State::running || batches_ > 0 || flush_waits_) return;
    const auto go_on_later = [this] {
        flush_waits_ = false;
        flush();
    };
    // What an earlier round could not publish comes first: its page is the one that is held now.
    std::expected<void, DmaMiss> done = publish();
    while (done && !completed_.empty()) done = write_element();
    if (!done) {
        const Gfn missing = parts_.dma.missing();
        if (done.error() == DmaMiss::absent) (void)publish();
        flush_waits_ = true;
        wait_for(done.error(), missing, mmu::FaultAccess::write, go_on_later);
        return;
    }
    if (done = publish(); !done) {
        flush_waits_ = true;
        wait_for(done.error(), parts_.dma.missing(), mmu::FaultAccess::write, go_on_later);
    }
}

std::expected<void, DmaMiss> Virtqueue::write_element() {
    const auto bytes = std::bit_cast<std::array<std::byte, sizeof(Used)>>(completed_.front());
    const Gpa element = settings_.used + 4 + sizeof(Used) * (next_used_ % settings_.size);
    // The ring is aligned to 4 only: an element may cross a page, and its first half then stays written.
    while (element_bytes_ < bytes.size()) {
        const Gpa at = element + element_bytes_;
        const std::size_t piece = std::min<std::size_t>(bytes.size() - element_bytes_, page_bytes - page_offset(at));
        if (const auto written = parts_.dma.write(at, std::span(bytes).subspan(element_bytes_, piece)); !written) {
            return written;
        }
        element_bytes_ += piece;
    }
    element_bytes_ = 0;
    ++next_used_;
    completed_.pop_front();
    return {};
}

std::expected<void, DmaMiss> Virtqueue::publish() {
    if (next_used_ == published_) return {};
    if (const auto stored = parts_.dma.store16(used_index(), next_used_); !stored) return stored;
    const std::uint16_t before = std::exchange(published_, next_used_);
    const auto count = static_cast<std::uint16_t>(published_ - before);
    in_flight_ -= count;
    counters_.completed.add(count);
    if (driver_wants_interrupt(before)) {
        counters_.interrupts.add();
        parts_.listener.interrupt(*this);
    }
    return {};
}

bool Virtqueue::driver_wants_interrupt(std::uint16_t before) {
    // 2.7.10: the driver stores its event index, then reads the used index; we do it the other way round. One of the
    // two sees the other's store. Where its page is absent, an interrupt too many is allowed and a lost one is not.
    full_fence();
    if (!event_index_) {
        const auto flags = parts_.dma.load16(settings_.available);
        return !flags || (*flags & available_flag_no_interrupt) == 0;
    }
    const auto event = parts_.dma.load16(used_event());
    if (!event) return true;
    return static_cast<std::uint16_t>(published_ - *event - 1) < static_cast<std::uint16_t>(published_ - before);
}

}  // namespace penumbra::vmm
