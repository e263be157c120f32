#include "vmm/devices/virtio/virtio_transport.hpp"

#include <utility>

namespace penumbra::vmm {

VirtioTransport::VirtioTransport(VirtioDevice& device) : device_(device) {
    const MutexLock lock(mutex_);
    queues_.resize(device_.queue_count());
    for (unsigned i = 0; i < queues_.size(); ++i) queues_[i].size = device_.max_queue_size(i);
    device_.attach(*this);
}

// ---- events of the device ----

void VirtioTransport::queue_interrupt(unsigned queue) {
    const MutexLock lock(mutex_);
    if (active_ && !resetting_) raise_queue(queue);
}

void VirtioTransport::config_interrupt() {
    const MutexLock lock(mutex_);
    if (active_ && !resetting_) raise_config();
}

void VirtioTransport::needs_reset() {
    const MutexLock lock(mutex_);
    if (!active_ || resetting_) return;
    status_ |= virtio_status::needs_reset;
    raise_config();
}

// ---- status ----

void VirtioTransport::write_status(std::uint8_t value) {
    if (resetting_) return;
    if (value == 0) return begin_reset();
    for (const std::uint8_t bit : {virtio_status::acknowledge, virtio_status::driver, virtio_status::features_ok,
                                   virtio_status::driver_ok, virtio_status::failed}) {
        if ((value & ~status_ & bit) != 0) add_status(bit);
    }
}

void VirtioTransport::add_status(std::uint8_t bit) {
    using namespace virtio_status;
    if (bit == driver && (status_ & acknowledge) == 0) return;
    if (bit == features_ok) {
        // 6.1: without VERSION_1 the driver expects a legacy device.
        const bool possible = (driver_features_ & ~device_.offered_features()) == 0 &&
                              (driver_features_ & virtio_feature::version_1) != 0;
        if ((status_ & driver) == 0 || !possible) return;
    }
    if (bit == driver_ok) {
        if ((status_ & features_ok) == 0 || (status_ & failed) != 0) return;
        activate();
    }
    status_ |= bit;
}

void VirtioTransport::activate() {
    VirtioActivation activation;
    activation.features = driver_features_;
    for (unsigned i = 0; i < queues_.size(); ++i) {
        const Queue& queue = queues_[i];
        if (!queue.enabled) continue;
        activation.queues.push_back({i, {queue.size, Gpa{queue.descriptors}, Gpa{queue.available}, Gpa{queue.used}}});
    }
    active_ = true;
    device_.activate(std::move(activation));
}

// ---- reset ----

void VirtioTransport::begin_reset() {
    if (!active_) return clear_registers();
    resetting_ = true;
    device_.reset([this] { finish_reset(); });
}

void VirtioTransport::finish_reset() {
    const MutexLock lock(mutex_);
    clear_registers();
    reset_done_.notify_all();
}

void VirtioTransport::clear_registers() {
    status_ = 0;
    driver_features_ = 0;
    active_ = resetting_ = false;
    for (unsigned i = 0; i < queues_.size(); ++i) queues_[i] = Queue{.size = device_.max_queue_size(i)};
    registers_cleared();
}

void VirtioTransport::wait_while_resetting() {
    while (resetting_ && !released_) reset_done_.wait(mutex_);
}

void VirtioTransport::reset_device() {
    const MutexLock lock(mutex_);
    if (!resetting_) begin_reset();
    wait_while_resetting();
}

void VirtioTransport::release_waiters() {
    const MutexLock lock(mutex_);
    released_ = true;
    reset_done_.notify_all();
}

// ---- features and queues ----

std::uint32_t VirtioTransport::offered_features(std::uint32_t word) const {
    return word < 2 ? static_cast<std::uint32_t>(device_.offered_features() >> (32 * word)) : 0;
}

std::uint32_t VirtioTransport::driver_features(std::uint32_t word) const {
    return word < 2 ? static_cast<std::uint32_t>(driver_features_ >> (32 * word)) : 0;
}

void VirtioTransport::write_driver_features(std::uint32_t word, std::uint32_t value) {
    if (resetting_ || (status_ & virtio_status::features_ok) != 0) return;
    if (word == 0) set_low(driver_features_, value);
    if (word == 1) set_high(driver_features_, value);
}

VirtioTransport::Queue* VirtioTransport::find_queue(unsigned number) {
    return number < queues_.size() ? &queues_[number] : nullptr;
}

VirtioTransport::Queue* VirtioTransport::changeable_queue(unsigned number) {
    Queue* queue = find_queue(number);
    return queue == nullptr || queue->enabled || active_ || resetting_ ? nullptr : queue;
}

void VirtioTransport::enable_queue(unsigned number, bool enabled) {
    if (Queue* queue = find_queue(number); queue != nullptr && !active_ && !resetting_) queue->enabled = enabled;
}

void VirtioTransport::notify(unsigned number) {
    if (number < device_.queue_count()) device_.notify(number);
}

}  // namespace penumbra::vmm
