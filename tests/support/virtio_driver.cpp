#include "tests/support/virtio_driver.hpp"

#include <sched.h>

#include <chrono>

#include "base/assert.hpp"
#include "vmm/devices/virtio/full_fence.hpp"
#include "vmm/devices/virtio/virtio_transport.hpp"

namespace penumbra::test {

using vmm::full_fence;

RingPlace DriverQueue::place_at(Gpa first, std::uint16_t size, Gpa* end) {
    const auto pages = [](std::uint64_t bytes) { return (bytes + page_bytes - 1) & ~(page_bytes - 1); };
    RingPlace place{.size = size, .descriptors = first, .available = {}, .used = {}};
    place.available = place.descriptors + pages(std::uint64_t{16} * size);
    place.used = place.available + pages(6 + std::uint64_t{2} * size);
    if (end != nullptr) *end = place.used + pages(6 + std::uint64_t{8} * size);
    return place;
}

DriverQueue::DriverQueue(GuestView& memory, const RingPlace& place, std::uint64_t features)
    : memory_(memory), place_(place), event_index_((features & vmm::virtio_feature::event_idx) != 0) {
    for (std::uint16_t i = 0; i < place_.size; ++i) free_.push_back(static_cast<std::uint16_t>(place_.size - 1 - i));
    chains_.resize(place_.size);
    memory_.write(place_.descriptors, std::vector<std::byte>(std::size_t{16} * place_.size));
    memory_.write(place_.available, std::vector<std::byte>(6 + std::size_t{2} * place_.size));
    memory_.write(place_.used, std::vector<std::byte>(6 + std::size_t{8} * place_.size));
}

DriverQueue::Descriptor DriverQueue::describe(const Buffer& buffer) {
    const bool writes = buffer.use == Buffer::Use::device_writes;
    return {buffer.at.value(), buffer.bytes, writes ? flag_write : std::uint16_t{0}, 0};
}

void DriverQueue::put_descriptor(std::uint16_t index, const Descriptor& descriptor) {
    memory_.put(place_.descriptors + std::uint64_t{16} * index, descriptor);
}

void DriverQueue::push_head(std::uint16_t head) {
    memory_.store16(place_.available + 4 + 2 * std::uint64_t{static_cast<std::uint16_t>(added_ % place_.size)}, head);
    ++added_;
    ++in_flight_;
}

std::optional<std::uint16_t> DriverQueue::add(std::span<const Buffer> buffers) {
    PENUMBRA_ASSERT(!buffers.empty(), "a chain has buffers");
    if (free_.size() < buffers.size()) return std::nullopt;
    std::vector<std::uint16_t> chain(free_.end() - static_cast<std::ptrdiff_t>(buffers.size()), free_.end());
    free_.resize(free_.size() - buffers.size());
    for (std::size_t i = 0; i < buffers.size(); ++i) {
        Descriptor descriptor = describe(buffers[i]);
        if (i + 1 < buffers.size()) {
            descriptor.flags |= flag_next;
            descriptor.next = chain[i + 1];
        }
        put_descriptor(chain[i], descriptor);
    }
    const std::uint16_t head = chain.front();
    chains_[head] = std::move(chain);
    push_head(head);
    return head;
}

std::optional<std::uint16_t> DriverQueue::add_indirect(std::span<const Buffer> buffers, Gpa table) {
    PENUMBRA_ASSERT(!buffers.empty(), "a chain has buffers");
    if (free_.empty()) return std::nullopt;
    const std::uint16_t head = free_.back();
    free_.pop_back();
    for (std::size_t i = 0; i < buffers.size(); ++i) {
        Descriptor descriptor = describe(buffers[i]);
        if (i + 1 < buffers.size()) {
            descriptor.flags |= flag_next;
            descriptor.next = static_cast<std::uint16_t>(i + 1);
        }
        memory_.put(table + 16 * i, descriptor);
    }
    put_descriptor(head, {table.value(), static_cast<std::uint32_t>(16 * buffers.size()), flag_indirect, 0});
    chains_[head] = {head};
    push_head(head);
    return head;
}

DriverQueue::Wish DriverQueue::publish() {
    const std::uint16_t before = std::exchange(published_, added_);
    memory_.store16(place_.available + 2, published_);
    full_fence();
    if (!event_index_) return (memory_.load16(place_.used) & 1) == 0 ? Wish::notify : Wish::quiet;
    const std::uint16_t event = memory_.load16(place_.used + 4 + 8 * std::uint64_t{place_.size});
    const bool crossed =
        static_cast<std::uint16_t>(published_ - event - 1) < static_cast<std::uint16_t>(published_ - before);
    return crossed ? Wish::notify : Wish::quiet;
}

std::optional<DriverQueue::Done> DriverQueue::take() {
    if (memory_.load16(place_.used + 2) == taken_) return std::nullopt;
    struct Element {
        std::uint32_t head;
        std::uint32_t written;
    };
    const std::uint64_t slot = taken_ % place_.size;
    const auto element = memory_.get<Element>(place_.used + 4 + 8 * slot);
    ++taken_;
    --in_flight_;
    PENUMBRA_ASSERT(element.head < place_.size, "the device gave back a chain that does not exist");
    const auto head = static_cast<std::uint16_t>(element.head);
    free_.insert(free_.end(), chains_[head].begin(), chains_[head].end());
    chains_[head].clear();
    return Done{head, element.written};
}

bool DriverQueue::ask_for_interrupt() {
    if (event_index_) {
        memory_.store16(place_.available + 4 + 2 * std::uint64_t{place_.size}, taken_);
    } else {
        memory_.store16(place_.available, 0);
    }
    full_fence();
    return memory_.load16(place_.used + 2) != taken_;
}

void DriverQueue::refuse_interrupts() {
    // With an event index: one that was passed long ago.
    if (event_index_) {
        memory_.store16(place_.available + 4 + 2 * std::uint64_t{place_.size},
                        static_cast<std::uint16_t>(taken_ - 0x4000));
    } else {
        memory_.store16(place_.available, 1);
    }
}

// ---- VirtioDriver ----

bool VirtioDriver::negotiate(std::uint64_t wanted) {
    using namespace vmm::virtio_status;
    if (!registers_.reset()) return false;
    registers_.set_status(acknowledge);
    registers_.set_status(acknowledge | driver);
    features_ = registers_.offered() & (wanted | vmm::virtio_feature::version_1);
    registers_.accept(features_);
    registers_.set_status(acknowledge | driver | features_ok);
    return (registers_.status() & features_ok) != 0;
}

bool VirtioDriver::start(Gpa rings, std::uint16_t size, std::uint64_t wanted) {
    using namespace vmm::virtio_status;
    if (!negotiate(wanted)) return false;
    queues_.clear();
    rings_end_ = rings;
    for (unsigned i = 0; const std::uint16_t most = registers_.max_queue_size(i); ++i) {
        const RingPlace place = DriverQueue::place_at(rings_end_, std::min(size, most), &rings_end_);
        queues_.emplace_back(memory_, place, features_);
        registers_.set_queue(i, place);
    }
    registers_.set_status(acknowledge | driver | features_ok | driver_ok);
    return (registers_.status() & (driver_ok | needs_reset)) == driver_ok;
}

void VirtioDriver::kick(unsigned queue) {
    if (queues_[queue].publish() == DriverQueue::Wish::notify) registers_.notify(queue);
}

std::uint16_t VirtioDriver::submit(unsigned queue, std::initializer_list<Buffer> buffers) {
    const std::optional<std::uint16_t> head = queues_[queue].add(buffers);
    PENUMBRA_ASSERT(head.has_value(), "no descriptor is free");
    kick(queue);
    return *head;
}

std::optional<DriverQueue::Done> VirtioDriver::wait(unsigned queue) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds{10};
    for (;;) {
        if (const auto done = queues_[queue].take()) return done;
        if (std::chrono::steady_clock::now() > until) return std::nullopt;
        ::sched_yield();
    }
}

}  // namespace penumbra::test
