// BAR 0: the common configuration structure (Virtual I/O Device 1.2, 4.1.4.3), interrupt status, the device's own
// configuration, and doorbells. BAR 1: message interrupts.
#include <utility>

#include "vmm/devices/virtio/virtio_pci.hpp"

namespace penumbra::vmm {

namespace layout = virtio_pci_layout;

namespace {

constexpr std::uint64_t device_feature_select = 0x00;
constexpr std::uint64_t device_feature = 0x04;
constexpr std::uint64_t driver_feature_select = 0x08;
constexpr std::uint64_t driver_feature = 0x0C;
constexpr std::uint64_t config_msix_vector = 0x10;
constexpr std::uint64_t num_queues = 0x12;
constexpr std::uint64_t device_status = 0x14;
constexpr std::uint64_t config_generation = 0x15;
constexpr std::uint64_t queue_select = 0x16;
constexpr std::uint64_t queue_size = 0x18;
constexpr std::uint64_t queue_msix_vector = 0x1A;
constexpr std::uint64_t queue_enable = 0x1C;
constexpr std::uint64_t queue_notify_off = 0x1E;
constexpr std::uint64_t queue_desc = 0x20;
constexpr std::uint64_t queue_driver = 0x28;
constexpr std::uint64_t queue_device = 0x30;
constexpr std::uint64_t queue_addresses_end = 0x38;

}  // namespace

std::uint64_t VirtioPci::read_bar(unsigned bar, std::uint64_t offset, unsigned size) {
    if (bar == layout::register_bar && offset >= layout::device && offset < layout::notify) {
        return device().read_config(offset - layout::device, size);
    }
    const MutexLock lock(mutex_);
    if (bar == layout::msix_bar) {
        return offset < layout::pending ? msix_.read_table(offset, size)
                                        : msix_.read_pending(offset - layout::pending, size);
    }
    if (offset < layout::isr) return read_common(offset, size);
    if (offset == layout::isr) return take_isr();
    return Device::all_ones;
}

void VirtioPci::write_bar(unsigned bar, std::uint64_t offset, unsigned size, std::uint64_t value) {
    if (bar == layout::register_bar && offset >= layout::notify) {
        const std::uint64_t place = offset - layout::notify;
        // The place names the queue. Only the driver's mistakes have another size.
        if (place % layout::notify_stride == 0 && (size == 2 || size == 4)) {
            notify(static_cast<unsigned>(place / layout::notify_stride));
        }
        return;
    }
    if (bar == layout::register_bar && offset >= layout::device) {
        return device().write_config(offset - layout::device, size, value);
    }
    const MutexLock lock(mutex_);
    if (bar == layout::msix_bar) {
        if (offset < layout::pending) msix_.write_table(offset, size, value);
    } else if (size == 8 && offset % 8 == 0) {
        // 4.1.3.1: 64-bit fields are two halves.
        write_common(offset, 4, static_cast<std::uint32_t>(value));
        write_common(offset + 4, 4, static_cast<std::uint32_t>(value >> 32));
    } else {
        write_common(offset, size, static_cast<std::uint32_t>(value));
    }
}

std::uint8_t VirtioPci::take_isr() {
    const std::uint8_t was = std::exchange(isr_, std::uint8_t{0});
    update_line();
    return was;
}

std::uint64_t VirtioPci::read_common(std::uint64_t offset, unsigned size) {
    if (size == 8 && offset % 8 == 0) return read_common(offset, 4) | (read_common(offset + 4, 4) << 32);
    if (size == 4) {
        if (offset == device_feature_select) return device_features_word_;
        if (offset == device_feature) return offered_features(device_features_word_);
        if (offset == driver_feature_select) return driver_features_word_;
        if (offset == driver_feature) return driver_features(driver_features_word_);
    } else if (size == 2) {
        if (offset == config_msix_vector) return config_vector_;
        if (offset == num_queues) return device().queue_count();
        if (offset == queue_select) return queue_;
    } else if (size == 1) {
        if (offset == device_status) return status();
        if (offset == config_generation) return device().config_generation() & 0xFF;
    }
    return read_queue_register(offset, size);
}

std::uint32_t VirtioPci::read_queue_register(std::uint64_t offset, unsigned size) {
    const Queue* queue = find_queue(queue_);
    // 4.1.4.3.1: a queue that does not exist has size 0.
    if (queue == nullptr) return offset == queue_msix_vector ? no_vector : 0;
    if (size == 2) {
        if (offset == queue_size) return queue->size;
        if (offset == queue_msix_vector) return queue_vectors_[queue_];
        if (offset == queue_enable) return queue->enabled ? 1 : 0;
        if (offset == queue_notify_off) return queue_;
    }
    if (size == 4 && offset % 4 == 0) return read_queue_address(*queue, offset);
    return 0;
}

std::uint32_t VirtioPci::read_queue_address(const Queue& queue, std::uint64_t offset) const {
    if (offset < queue_desc || offset >= queue_addresses_end) return 0;
    const std::uint64_t address = offset < queue_driver   ? queue.descriptors
                                  : offset < queue_device ? queue.available
                                                          : queue.used;
    return static_cast<std::uint32_t>(offset % 8 == 0 ? address : address >> 32);
}

std::uint16_t VirtioPci::possible_vector(std::uint32_t value) const {
    return value < msix_.vectors() ? static_cast<std::uint16_t>(value) : no_vector;
}

void VirtioPci::write_common(std::uint64_t offset, unsigned size, std::uint32_t value) {
    if (size == 4) {
        if (offset == device_feature_select) device_features_word_ = value;
        if (offset == driver_feature_select) driver_features_word_ = value;
        if (offset == driver_feature) write_driver_features(driver_features_word_, value);
    } else if (size == 2) {
        if (offset == config_msix_vector && !resetting()) config_vector_ = possible_vector(value);
        if (offset == queue_select) queue_ = static_cast<std::uint16_t>(value);
    } else if (size == 1) {
        // Without a wait: the driver reads the status until it is 0 (4.1.4.3.2).
        if (offset == device_status) write_status(static_cast<std::uint8_t>(value));
    }
    write_queue_register(offset, size, value);
}

void VirtioPci::write_queue_register(std::uint64_t offset, unsigned size, std::uint32_t value) {
    if (size == 2) {
        if (offset == queue_msix_vector && find_queue(queue_) != nullptr && !resetting()) {
            queue_vectors_[queue_] = possible_vector(value);
        }
        // 4.1.4.3.2: nothing but 1 is written; a reset disables.
        if (offset == queue_enable && value == 1) enable_queue(queue_, true);
        if (offset == queue_size) {
            if (Queue* queue = changeable_queue(queue_)) queue->size = static_cast<std::uint16_t>(value);
        }
    } else if (size == 4 && offset % 4 == 0) {
        write_queue_address(offset, value);
    }
}

void VirtioPci::write_queue_address(std::uint64_t offset, std::uint32_t value) {
    Queue* queue = changeable_queue(queue_);
    if (queue == nullptr || offset < queue_desc || offset >= queue_addresses_end) return;
    std::uint64_t& address = offset < queue_driver   ? queue->descriptors
                             : offset < queue_device ? queue->available
                                                     : queue->used;
    if (offset % 8 == 0) {
        set_low(address, value);
    } else {
        set_high(address, value);
    }
}

void VirtioPci::registers_cleared() {
    device_features_word_ = driver_features_word_ = 0;
    queue_ = 0;
    config_vector_ = no_vector;
    for (std::uint16_t& vector : queue_vectors_) vector = no_vector;
    isr_ = 0;
    update_line();
}

}  // namespace penumbra::vmm
