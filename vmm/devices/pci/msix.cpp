#include "vmm/devices/pci/msix.hpp"

#include <utility>

#include "base/assert.hpp"
#include "vmm/devices/device.hpp"

namespace penumbra::vmm {

namespace {

bool is_allowed(std::uint64_t offset, unsigned size) { return (size == 4 || size == 8) && offset % size == 0; }

}  // namespace

Msix::Msix(unsigned vectors, Interrupts& interrupts) : entries_(vectors), interrupts_(interrupts) {
    PENUMBRA_ASSERT(vectors > 0 && vectors <= 2048, "the table has 1..2048 vectors");
}

void Msix::set_control(std::uint16_t control) {
    enabled_ = (control & control_enable) != 0;
    all_masked_ = (control & control_mask_all) != 0;
    if (!enabled_) {
        for (Entry& entry : entries_) entry.pending = false;
    }
    deliver_pending();
}

void Msix::signal(unsigned vector) {
    if (!enabled_ || vector >= entries_.size()) return;
    Entry& entry = entries_[vector];
    if (open(entry)) {
        interrupts_.signal(entry.message);
    } else {
        entry.pending = true;
    }
}

void Msix::reset() {
    for (Entry& entry : entries_) entry = Entry{};
    enabled_ = all_masked_ = false;
}

void Msix::deliver_pending() {
    for (Entry& entry : entries_) {
        if (open(entry) && std::exchange(entry.pending, false)) interrupts_.signal(entry.message);
    }
}

std::uint32_t Msix::read_word(std::uint64_t offset) const {
    const std::uint64_t vector = offset / entry_bytes;
    if (vector >= entries_.size()) return 0;
    const Entry& entry = entries_[vector];
    switch (offset % entry_bytes) {
        case 0:
            return static_cast<std::uint32_t>(entry.message.address);
        case 4:
            return static_cast<std::uint32_t>(entry.message.address >> 32);
        case 8:
            return entry.message.data;
        default:
            return entry.control;
    }
}

void Msix::write_word(std::uint64_t offset, std::uint32_t value) {
    const std::uint64_t vector = offset / entry_bytes;
    if (vector >= entries_.size()) return;
    Entry& entry = entries_[vector];
    MsiMessage& message = entry.message;
    switch (offset % entry_bytes) {
        case 0:
            message.address = (message.address & ~std::uint64_t{0xFFFF'FFFF}) | (value & ~std::uint32_t{3});
            return;
        case 4:
            message.address = (message.address & 0xFFFF'FFFF) | (std::uint64_t{value} << 32);
            return;
        case 8:
            message.data = value;
            return;
        default:
            entry.control = value & 1;
            deliver_pending();
    }
}

std::uint64_t Msix::read_table(std::uint64_t offset, unsigned size) const {
    if (!is_allowed(offset, size)) return Device::all_ones;
    std::uint64_t value = read_word(offset);
    if (size == 8) value |= std::uint64_t{read_word(offset + 4)} << 32;
    return value;
}

void Msix::write_table(std::uint64_t offset, unsigned size, std::uint64_t value) {
    if (!is_allowed(offset, size)) return;
    write_word(offset, static_cast<std::uint32_t>(value));
    if (size == 8) write_word(offset + 4, static_cast<std::uint32_t>(value >> 32));
}

std::uint32_t Msix::pending_word(std::uint64_t offset) const {
    std::uint32_t word = 0;
    for (std::uint64_t i = 0; i < 32 && offset * 8 + i < entries_.size(); ++i) {
        if (entries_[offset * 8 + i].pending) word |= std::uint32_t{1} << i;
    }
    return word;
}

std::uint64_t Msix::read_pending(std::uint64_t offset, unsigned size) const {
    if (!is_allowed(offset, size)) return Device::all_ones;
    std::uint64_t value = pending_word(offset);
    if (size == 8) value |= std::uint64_t{pending_word(offset + 4)} << 32;
    return value;
}

}  // namespace penumbra::vmm
