// Configuration space: capabilities, and what the guest changes there.
#include <optional>

#include "vmm/devices/virtio/virtio_pci.hpp"

namespace penumbra::vmm {

namespace layout = virtio_pci_layout;

namespace {

constexpr std::uint8_t capability_vendor = 0x09;
constexpr std::uint8_t capability_msix = 0x11;

// Virtio capability types (4.1.4) and fields.
constexpr std::uint8_t type_common = 1;
constexpr std::uint8_t type_notify = 2;
constexpr std::uint8_t type_isr = 3;
constexpr std::uint8_t type_device = 4;
constexpr std::uint8_t type_pci_access = 5;
constexpr unsigned field_bar = 4;
constexpr unsigned field_offset = 8;
constexpr unsigned field_length = 12;
constexpr unsigned field_extra = 16;  // the notify multiplier, or the data of a PCI access
constexpr unsigned capability_bytes = 16;
constexpr unsigned extra_bytes = 4;

constexpr unsigned msix_control = 2;
constexpr unsigned msix_table = 4;
constexpr unsigned msix_pending = 8;
constexpr unsigned msix_capability_bytes = 12;

constexpr std::uint32_t common_bytes = 0x3C;

}  // namespace

unsigned VirtioPci::add_virtio_capability(std::uint8_t type, std::uint32_t offset, std::uint32_t bytes,
                                          unsigned extra) {
    const unsigned at = config().add_capability(capability_vendor, capability_bytes + extra);
    config().set(at + 2, 1, capability_bytes + extra);
    config().set(at + 3, 1, type);
    config().set(at + field_bar, 1, layout::register_bar);
    config().set(at + field_offset, 4, offset);
    config().set(at + field_length, 4, bytes);
    return at;
}

void VirtioPci::add_capabilities() {
    const unsigned queues = device().queue_count();
    add_virtio_capability(type_common, layout::common, common_bytes);
    const unsigned notify =
        add_virtio_capability(type_notify, layout::notify, queues * layout::notify_stride, extra_bytes);
    config().set(notify + field_extra, 4, layout::notify_stride);
    add_virtio_capability(type_isr, layout::isr, 1);
    const std::size_t config_bytes = device().config_bytes();
    if (config_bytes > 0) add_virtio_capability(type_device, layout::device, static_cast<std::uint32_t>(config_bytes));

    access_capability_ = add_virtio_capability(type_pci_access, 0, 0, extra_bytes);
    config().allow(access_capability_ + field_bar, 1, 0xFF);
    config().allow(access_capability_ + field_offset, 4, 0xFFFF'FFFF);
    config().allow(access_capability_ + field_length, 4, 0xFFFF'FFFF);
    config().allow(access_capability_ + field_extra, 4, 0xFFFF'FFFF);

    msix_capability_ = config().add_capability(capability_msix, msix_capability_bytes);
    config().set(msix_capability_ + msix_control, 2, queues);  // one vector for configuration; the field is one less
    config().allow(msix_capability_ + msix_control, 2, Msix::control_enable | Msix::control_mask_all);
    config().set(msix_capability_ + msix_table, 4, layout::msix_bar);
    config().set(msix_capability_ + msix_pending, 4, layout::pending | layout::msix_bar);
}

void VirtioPci::reset() {
    reset_device();
    config().set(msix_capability_ + msix_control, 2, device().queue_count());
    config().set(access_capability_ + field_bar, 1, layout::register_bar);
    for (const unsigned field : {field_offset, field_length, field_extra}) {
        config().set(access_capability_ + field, 4, 0);
    }
    const MutexLock lock(mutex_);
    msix_.reset();
    intx_off_ = false;
    update_line();
}

std::optional<VirtioPci::Access> VirtioPci::configured_access() {
    const Access access{.bar = config().get(access_capability_ + field_bar, 1),
                        .offset = config().get(access_capability_ + field_offset, 4),
                        .bytes = config().get(access_capability_ + field_length, 4)};
    // 4.1.4.9: 1, 2 or 4 bytes, at a multiple of that.
    const bool possible = access.bytes == 1 || access.bytes == 2 || access.bytes == 4;
    if (!possible || access.offset % access.bytes != 0 || access.bar >= pci::bars) return std::nullopt;
    const std::uint32_t bar_bytes = config().bar_bytes(access.bar);
    if (access.offset >= bar_bytes || access.bytes > bar_bytes - access.offset) return std::nullopt;
    return access;
}

void VirtioPci::about_to_read(std::uint64_t offset, unsigned size) {
    if (touches(pci::status, 2, offset, size)) {
        const MutexLock lock(mutex_);
        const std::uint32_t others = config().get(pci::status, 2) & ~std::uint32_t{pci::status_interrupt};
        config().set(pci::status, 2, others | (isr_ != 0 && !msix_.enabled() ? pci::status_interrupt : 0));
    }
    if (touches(access_capability_ + field_extra, extra_bytes, offset, size)) {
        if (const std::optional<Access> access = configured_access()) {
            const std::uint64_t value = read_bar(access->bar, access->offset, access->bytes);
            config().set(access_capability_ + field_extra, access->bytes, static_cast<std::uint32_t>(value));
        }
    }
}

void VirtioPci::written(std::uint64_t offset, unsigned size) {
    if (touches(pci::command, 2, offset, size) || touches(msix_capability_ + msix_control, 2, offset, size)) {
        mirror_interrupt_controls();
    }
    if (touches(access_capability_ + field_extra, extra_bytes, offset, size)) {
        if (const std::optional<Access> access = configured_access()) {
            const std::uint32_t value = config().get(access_capability_ + field_extra, access->bytes);
            write_bar(access->bar, access->offset, access->bytes, value);
        }
    }
}

void VirtioPci::mirror_interrupt_controls() {
    const auto control = static_cast<std::uint16_t>(config().get(msix_capability_ + msix_control, 2));
    const MutexLock lock(mutex_);
    msix_.set_control(control);
    intx_off_ = config().command_has(pci::command_no_intx);
    update_line();
}

}  // namespace penumbra::vmm
