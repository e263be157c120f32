#include "tests/support/virtio_registers.hpp"

#include <sched.h>

#include <chrono>

#include "base/assert.hpp"

namespace penumbra::test {

namespace {

std::uint32_t low(std::uint64_t value) { return static_cast<std::uint32_t>(value); }
std::uint32_t high(std::uint64_t value) { return static_cast<std::uint32_t>(value >> 32); }

}  // namespace

bool VirtioRegisters::reset() {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds{10};
    set_status(0);
    while (status() != 0) {
        if (std::chrono::steady_clock::now() > until) return false;
        ::sched_yield();
    }
    return true;
}

// ---- MMIO ----

std::uint64_t MmioRegisters::offered() {
    set(0x014, 1);
    const std::uint64_t upper = get(0x010);
    set(0x014, 0);
    return upper << 32 | get(0x010);
}

void MmioRegisters::accept(std::uint64_t features) {
    set(0x024, 0);
    set(0x020, low(features));
    set(0x024, 1);
    set(0x020, high(features));
}

std::uint16_t MmioRegisters::max_queue_size(unsigned queue) {
    set(0x030, queue);
    return static_cast<std::uint16_t>(get(0x034));
}

void MmioRegisters::set_queue(unsigned queue, const RingPlace& place) {
    set(0x030, queue);
    set(0x038, place.size);
    set(0x080, low(place.descriptors.value()));
    set(0x084, high(place.descriptors.value()));
    set(0x090, low(place.available.value()));
    set(0x094, high(place.available.value()));
    set(0x0A0, low(place.used.value()));
    set(0x0A4, high(place.used.value()));
    set(0x044, 1);
}

void MmioRegisters::notify(unsigned queue) {
    if (doorbells_ == nullptr || !doorbells_->write(base_ + 0x050, 4)) set(0x050, queue);
}

std::uint64_t MmioRegisters::config(unsigned offset, unsigned bytes) { return device_.read(0x100 + offset, bytes); }

void MmioRegisters::set_config(unsigned offset, unsigned bytes, std::uint64_t value) {
    device_.write(0x100 + offset, bytes, value);
}

std::uint8_t MmioRegisters::take_isr() {
    const std::uint32_t isr = get(0x060);
    set(0x064, isr);
    return static_cast<std::uint8_t>(isr);
}

// ---- PCI ----

PciRegisters::PciRegisters(vmm::PciBus& bus, Gpa window, unsigned slot, FakeDoorbells* doorbells)
    : bus_(bus), window_(window), slot_(slot), doorbells_(doorbells) {
    look();
}

void PciRegisters::look() {
    // Bounded: the list could run in a circle, which a test must survive to see.
    unsigned at = config_space(0x34, 1);
    for (unsigned i = 0; at != 0 && i < 48; ++i, at = config_space(at + 1, 1)) {
        const std::uint32_t id = config_space(at, 1);
        if (id == 0x11) msix_capability_ = at;
        if (id != 0x09) continue;
        const std::uint32_t type = config_space(at + 3, 1);
        PENUMBRA_ASSERT(type < structures_.size(), "a virtio capability of a known type");
        structures_[type] = {static_cast<std::uint8_t>(config_space(at + 4, 1)), config_space(at + 8, 4),
                             config_space(at + 12, 4), at};
        if (type == 2) notify_stride_ = config_space(at + 16, 4);
    }
}

std::uint32_t PciRegisters::config_space(unsigned offset, unsigned bytes) {
    const std::uint64_t value = bus_.ecam().read((std::uint64_t{slot_} << 15) + offset, bytes);
    return low(value) & (bytes == 4 ? ~0U : (1U << (8 * bytes)) - 1);
}

void PciRegisters::set_config_space(unsigned offset, unsigned bytes, std::uint32_t value) {
    bus_.ecam().write((std::uint64_t{slot_} << 15) + offset, bytes, value);
}

Gpa PciRegisters::bar(unsigned number) { return Gpa{config_space(0x10 + 4 * number, 4) & ~0xFU}; }

std::uint64_t PciRegisters::read(Gpa at, unsigned bytes) {
    const std::uint64_t value = bus_.window().read(at - window_, bytes);
    return bytes == 8 ? value : value & ((std::uint64_t{1} << (8 * bytes)) - 1);
}

void PciRegisters::write(Gpa at, unsigned bytes, std::uint64_t value) {
    if (doorbells_ != nullptr && doorbells_->write(at, bytes)) return;
    bus_.window().write(at - window_, bytes, value);
}

Gpa PciRegisters::place_of(unsigned type, std::uint32_t offset) {
    return bar(structures_[type].bar) + structures_[type].offset + offset;
}

std::uint64_t PciRegisters::common(unsigned offset, unsigned bytes) { return read(place_of(1, offset), bytes); }

void PciRegisters::set_common(unsigned offset, unsigned bytes, std::uint64_t value) {
    write(place_of(1, offset), bytes, value);
}

std::uint64_t PciRegisters::offered() {
    set_common(0x00, 4, 1);
    const std::uint64_t upper = common(0x04, 4);
    set_common(0x00, 4, 0);
    return upper << 32 | common(0x04, 4);
}

void PciRegisters::accept(std::uint64_t features) {
    set_common(0x08, 4, 0);
    set_common(0x0C, 4, low(features));
    set_common(0x08, 4, 1);
    set_common(0x0C, 4, high(features));
}

std::uint16_t PciRegisters::max_queue_size(unsigned queue) {
    set_common(0x16, 2, queue);
    return static_cast<std::uint16_t>(common(0x18, 2));
}

void PciRegisters::set_queue(unsigned queue, const RingPlace& place) {
    set_common(0x16, 2, queue);
    set_common(0x18, 2, place.size);
    set_common(0x20, 4, low(place.descriptors.value()));
    set_common(0x24, 4, high(place.descriptors.value()));
    set_common(0x28, 8, place.available.value());
    set_common(0x30, 8, place.used.value());
    set_common(0x1C, 2, 1);
    notify_offsets_[queue] = static_cast<std::uint32_t>(common(0x1E, 2));
}

void PciRegisters::notify(unsigned queue) { write(place_of(2, notify_offsets_[queue] * notify_stride_), 2, queue); }

std::uint64_t PciRegisters::config(unsigned offset, unsigned bytes) { return read(place_of(4, offset), bytes); }

void PciRegisters::set_config(unsigned offset, unsigned bytes, std::uint64_t value) {
    write(place_of(4, offset), bytes, value);
}

std::uint8_t PciRegisters::take_isr() { return static_cast<std::uint8_t>(read(place_of(3, 0), 1)); }

void PciRegisters::use_messages() {
    const std::uint32_t vectors = (config_space(msix_capability_ + 2, 2) & 0x7FF) + 1;
    const std::uint32_t table = config_space(msix_capability_ + 4, 4);
    for (std::uint32_t i = 0; i < vectors; ++i) {
        const Gpa entry = bar(table & 7) + (table & ~7U) + 16 * i;
        write(entry, 8, 0xFEE0'0000);
        write(entry + 8, 4, i);
        write(entry + 12, 4, 0);
    }
    set_config_space(msix_capability_ + 2, 2, 0x8000);
    set_common(0x10, 2, 0);
    for (unsigned queue = 0; queue + 1 < vectors; ++queue) {
        set_common(0x16, 2, queue);
        set_common(0x1A, 2, queue + 1);
    }
}

}  // namespace penumbra::test
