#include "vmm/devices/virtio/virtio_mmio.hpp"

namespace penumbra::vmm {

namespace {

// Register offsets (4.2.2).
constexpr std::uint64_t magic_value = 0x000;
constexpr std::uint64_t version = 0x004;
constexpr std::uint64_t device_id = 0x008;
constexpr std::uint64_t vendor_id = 0x00C;
constexpr std::uint64_t device_features = 0x010;
constexpr std::uint64_t device_features_sel = 0x014;
constexpr std::uint64_t driver_features_register = 0x020;
constexpr std::uint64_t driver_features_sel = 0x024;
constexpr std::uint64_t queue_sel = 0x030;
constexpr std::uint64_t queue_num_max = 0x034;
constexpr std::uint64_t queue_num = 0x038;
constexpr std::uint64_t queue_ready = 0x044;
constexpr std::uint64_t queue_notify = 0x050;
constexpr std::uint64_t interrupt_status = 0x060;
constexpr std::uint64_t interrupt_ack = 0x064;
constexpr std::uint64_t status_register = 0x070;
constexpr std::uint64_t queue_desc_low = 0x080;
constexpr std::uint64_t queue_desc_high = 0x084;
constexpr std::uint64_t queue_driver_low = 0x090;
constexpr std::uint64_t queue_driver_high = 0x094;
constexpr std::uint64_t queue_device_low = 0x0A0;
constexpr std::uint64_t queue_device_high = 0x0A4;
constexpr std::uint64_t shm_len_low = 0x0B0;
constexpr std::uint64_t shm_base_high = 0x0BC;
constexpr std::uint64_t config_generation_register = 0x0FC;
constexpr std::uint64_t config_space = 0x100;

constexpr std::uint32_t magic = 0x7472'6976;   // "virt"
constexpr std::uint32_t vendor = 0x756E'6550;  // any will do: "Penu"

}  // namespace

VirtioMmio::VirtioMmio(VirtioDevice& device, Place place, Interrupts& interrupts, Doorbells* doorbells)
    : VirtioTransport(device), place_(place), interrupts_(interrupts), doorbells_(doorbells) {
    // A doorbell cannot tell which queue's number was written.
    const bool bound = doorbells_ != nullptr && device.queue_count() == 1 &&
                       doorbells_->bind(place_.base + queue_notify, 4, device.doorbell(0)).has_value();
    if (!bound) doorbells_ = nullptr;
}

VirtioMmio::~VirtioMmio() {
    if (doorbells_ != nullptr) doorbells_->unbind(place_.base + queue_notify, 4, device().doorbell(0));
}

std::uint64_t VirtioMmio::read(std::uint64_t offset, unsigned size) {
    if (offset >= config_space) return device().read_config(offset - config_space, size);
    // 4.2.2.2: other registers take 32-bit aligned accesses only.
    if (size != 4 || offset % 4 != 0) return all_ones;
    const MutexLock lock(mutex_);
    return read_register(offset);
}

void VirtioMmio::write(std::uint64_t offset, unsigned size, std::uint64_t value) {
    if (offset >= config_space) return device().write_config(offset - config_space, size, value);
    if (size != 4 || offset % 4 != 0) return;
    const auto word = static_cast<std::uint32_t>(value);
    if (offset == queue_notify) return notify(word);
    const MutexLock lock(mutex_);
    write_register(offset, word);
}

std::uint32_t VirtioMmio::read_register(std::uint64_t offset) {
    switch (offset) {
        case magic_value:
            return magic;
        case version:
            return 2;
        case device_id:
            return static_cast<std::uint32_t>(device().id());
        case vendor_id:
            return vendor;
        case device_features:
            return offered_features(device_features_word_);
        case interrupt_status:
            return interrupt_status_;
        case status_register:
            return status();
        case config_generation_register:
            return device().config_generation();
        default:
            // 4.2.2: a shared memory region that does not exist has length -1.
            if (offset >= shm_len_low && offset <= shm_base_high) return ~std::uint32_t{0};
            return read_queue_register(offset);
    }
}

std::uint32_t VirtioMmio::read_queue_register(std::uint64_t offset) {
    const Queue* queue = find_queue(queue_);
    if (queue == nullptr) return 0;
    if (offset == queue_num_max) return device().max_queue_size(queue_);
    if (offset == queue_ready) return queue->enabled ? 1 : 0;
    return 0;
}

void VirtioMmio::write_register(std::uint64_t offset, std::uint32_t value) {
    switch (offset) {
        case device_features_sel:
            device_features_word_ = value;
            return;
        case driver_features_sel:
            driver_features_word_ = value;
            return;
        case driver_features_register:
            return write_driver_features(driver_features_word_, value);
        case queue_sel:
            queue_ = value;
            return;
        case interrupt_ack:
            return set_interrupt_status(interrupt_status_ & static_cast<std::uint8_t>(~value));
        case status_register:
            write_status(static_cast<std::uint8_t>(value));
            return wait_while_resetting();
        case queue_ready:
            return enable_queue(queue_, value == 1);
        default:
            return write_queue_register(offset, value);
    }
}

void VirtioMmio::write_queue_register(std::uint64_t offset, std::uint32_t value) {
    Queue* queue = changeable_queue(queue_);
    if (queue == nullptr) return;
    switch (offset) {
        case queue_num:
            // What does not fit is no power of two either way: the queue refuses it when it starts.
            queue->size = value <= 0xFFFF ? static_cast<std::uint16_t>(value) : std::uint16_t{0};
            return;
        case queue_desc_low:
            return set_low(queue->descriptors, value);
        case queue_desc_high:
            return set_high(queue->descriptors, value);
        case queue_driver_low:
            return set_low(queue->available, value);
        case queue_driver_high:
            return set_high(queue->available, value);
        case queue_device_low:
            return set_low(queue->used, value);
        case queue_device_high:
            return set_high(queue->used, value);
        default:
            return;
    }
}

void VirtioMmio::set_interrupt_status(std::uint8_t value) {
    const bool was_high = interrupt_status_ != 0;
    interrupt_status_ = value;
    if (was_high == (value != 0)) return;
    interrupts_.set_line(place_.line, place_.source, value != 0 ? LineLevel::high : LineLevel::low);
}

void VirtioMmio::raise_queue(unsigned /*queue*/) { set_interrupt_status(interrupt_status_ | virtio_isr::queue); }

void VirtioMmio::raise_config() { set_interrupt_status(interrupt_status_ | virtio_isr::config); }

void VirtioMmio::registers_cleared() {
    device_features_word_ = driver_features_word_ = queue_ = 0;
    set_interrupt_status(0);
}

}  // namespace penumbra::vmm
