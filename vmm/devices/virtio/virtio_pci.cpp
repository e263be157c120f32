#include "vmm/devices/virtio/virtio_pci.hpp"

#include <utility>

namespace penumbra::vmm {

namespace layout = virtio_pci_layout;

namespace {

constexpr std::uint16_t virtio_vendor = 0x1AF4;
constexpr std::uint16_t modern_device_base = 0x1040;

std::uint32_t class_of(VirtioId id) {
    switch (id) {
        case VirtioId::net:
            return 0x02'0000;
        case VirtioId::block:
            return 0x01'8000;
        case VirtioId::console:
            return 0x07'8000;
    }
    return 0xFF'0000;
}

PciIdentity identity_of(VirtioId id) {
    const auto number = static_cast<std::uint16_t>(modern_device_base + static_cast<std::uint16_t>(id));
    return {.vendor = virtio_vendor,
            .device = number,
            .revision = 1,
            .class_code = class_of(id),
            .subsystem_vendor = virtio_vendor,
            .subsystem = number};
}

}  // namespace

VirtioPci::VirtioPci(VirtioDevice& device, Interrupts& interrupts, Doorbells* doorbells)
    : PciFunction(identity_of(device.id())),
      VirtioTransport(device),
      interrupts_(interrupts),
      doorbells_(doorbells),
      msix_(device.queue_count() + 1, interrupts),
      queue_vectors_(device.queue_count(), no_vector) {
    config().add_bar(layout::register_bar, layout::register_bytes);
    config().add_bar(layout::msix_bar, layout::msix_bytes);
    config().set(pci::interrupt_pin, 1, 1);
    add_capabilities();
}

VirtioPci::~VirtioPci() { bind_doorbells(std::nullopt); }

void VirtioPci::connect(Gsi line, std::uint32_t source) {
    line_ = line;
    source_ = source;
}

// ---- doorbells ----

void VirtioPci::bar_moved(unsigned bar, std::optional<Gpa> at) {
    if (bar == layout::register_bar) bind_doorbells(at);
}

void VirtioPci::bind_doorbells(std::optional<Gpa> at) {
    if (doorbells_ == nullptr) return;
    for (const BoundDoorbell& bound : std::exchange(bound_, {})) {
        doorbells_->unbind(bound.at, 2, device().doorbell(bound.queue));
    }
    if (!at) return;
    for (unsigned queue = 0; queue < device().queue_count(); ++queue) {
        const Gpa place = *at + layout::notify + std::uint64_t{queue} * layout::notify_stride;
        // Where the kernel takes none, the write comes here.
        if (doorbells_->bind(place, 2, device().doorbell(queue))) bound_.push_back({queue, place});
    }
}

// ---- interrupts ----

void VirtioPci::update_line() {
    const bool high = isr_ != 0 && !intx_off_ && !msix_.enabled();
    if (std::exchange(line_high_, high) == high) return;
    interrupts_.set_line(line_, source_, high ? LineLevel::high : LineLevel::low);
}

void VirtioPci::raise(std::uint16_t vector, std::uint8_t isr_bit) {
    if (msix_.enabled()) return msix_.signal(vector);  // no_vector is none of its vectors
    isr_ |= isr_bit;
    update_line();
}

void VirtioPci::raise_queue(unsigned queue) { raise(queue_vectors_[queue], virtio_isr::queue); }

void VirtioPci::raise_config() { raise(config_vector_, virtio_isr::config); }

}  // namespace penumbra::vmm
