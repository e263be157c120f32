#include "vmm/devices/virtio/virtqueue.hpp"

#include <bit>
#include <limits>
#include <utility>

#include "vmm/devices/virtio/virtio_features.hpp"

namespace penumbra::vmm {

namespace {

// Sizes of the three areas without their entries (2.7): flags, index, event.
constexpr std::uint64_t ring_frame_bytes = 6;

bool fits(Gpa first, std::uint64_t bytes, std::uint64_t alignment) {
    return first.value() % alignment == 0 && first.value() <= std::numeric_limits<std::uint64_t>::max() - bytes;
}

}  // namespace

bool Virtqueue::settings_make_sense() const {
    const std::uint64_t size = settings_.size;
    return std::has_single_bit(size) && size <= max_size_ && fits(settings_.descriptors, 16 * size, 16) &&
           fits(settings_.available, ring_frame_bytes + 2 * size, 2) &&
           fits(settings_.used, ring_frame_bytes + 8 * size, 4);
}

void Virtqueue::start(const QueueSettings& settings, std::uint64_t features) {
    stop();
    settings_ = settings;
    event_index_ = (features & virtio_feature::event_idx) != 0;
    indirect_ = (features & virtio_feature::indirect_desc) != 0;
    state_ = State::running;
    if (!settings_make_sense()) return fail("a queue's size or addresses are not allowed");
    with_device_.assign(settings_.size, false);
    poll();
}

void Virtqueue::stop() {
    state_ = State::stopped;
    ++session_;
    next_available_ = seen_available_ = next_used_ = published_ = 0;
    found_nothing_ = armed_ = told_quiet_ = awaits_page_ = take_posted_ = flush_waits_ = false;
    next_sequence_ = next_delivered_ = 0;
    element_bytes_ = in_flight_ = 0;
    parsers_.clear();
    parsed_.clear();
    completed_.clear();
}

void Virtqueue::resume() {
    paused_ = false;
    poll();
}

void Virtqueue::fail(std::string_view why) {
    if (state_ != State::running) return;
    state_ = State::broken;
    counters_.broken.add();
    parts_.listener.queue_broken(*this, why);
}

void Virtqueue::wait_for(DmaMiss miss, Gfn missing, mmu::FaultAccess access, std::function<void()> then) {
    if (miss == DmaMiss::not_ram) return fail("a ring lies outside of RAM");
    counters_.waits.add();
    parts_.wishes.want(missing, access, [this, session = session_, then = std::move(then)](DmaGrant grant) {
        if (session != session_ || state_ != State::running) return;
        if (grant == DmaGrant::not_ram) return fail("a ring lies outside of RAM");
        then();
    });
}

}  // namespace penumbra::vmm
