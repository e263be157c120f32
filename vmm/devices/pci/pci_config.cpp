#include "vmm/devices/pci/pci_config.hpp"

#include <bit>

#include "base/assert.hpp"

namespace penumbra::vmm {

namespace {

bool is_allowed(std::uint64_t offset, unsigned size) {
    return (size == 1 || size == 2 || size == 4) && offset % size == 0 && offset < PciConfig::extended_bytes;
}

}  // namespace

PciConfig::PciConfig(const PciIdentity& identity) {
    set(pci::vendor_id, 2, identity.vendor);
    set(pci::device_id, 2, identity.device);
    set(pci::revision, 1, identity.revision);
    set(pci::class_code, 1, identity.class_code & 0xFF);
    set(pci::class_code + 1, 2, identity.class_code >> 8);
    set(pci::subsystem_vendor_id, 2, identity.subsystem_vendor);
    set(pci::subsystem_id, 2, identity.subsystem);
    allow(pci::command, 2, pci::command_memory | pci::command_master | pci::command_no_intx);
    allow(pci::cache_line_size, 1, 0xFF);
    allow(pci::interrupt_line, 1, 0xFF);
}

std::uint32_t PciConfig::read(std::uint64_t offset, unsigned size) const {
    if (!is_allowed(offset, size)) return ~std::uint32_t{0};
    return offset < bytes ? get(static_cast<unsigned>(offset), size) : 0;
}

void PciConfig::write(std::uint64_t offset, unsigned size, std::uint32_t value) {
    if (!is_allowed(offset, size) || offset >= bytes) return;
    for (unsigned i = 0; i < size; ++i) {
        std::uint8_t& at = bytes_[offset + i];
        const std::uint8_t mask = writable_[offset + i];
        at = static_cast<std::uint8_t>((at & ~mask) | ((value >> (8 * i)) & mask));
    }
}

std::uint32_t PciConfig::get(unsigned offset, unsigned size) const {
    PENUMBRA_ASSERT(size <= 4 && offset <= bytes - size, "inside the configuration space");
    std::uint32_t value = 0;
    for (unsigned i = 0; i < size; ++i) value |= std::uint32_t{bytes_[offset + i]} << (8 * i);
    return value;
}

void PciConfig::set(unsigned offset, unsigned size, std::uint32_t value) {
    PENUMBRA_ASSERT(size <= 4 && offset <= bytes - size, "inside the configuration space");
    for (unsigned i = 0; i < size; ++i) bytes_[offset + i] = static_cast<std::uint8_t>(value >> (8 * i));
}

void PciConfig::allow(unsigned offset, unsigned size, std::uint32_t mask) {
    PENUMBRA_ASSERT(size <= 4 && offset <= bytes - size, "inside the configuration space");
    for (unsigned i = 0; i < size; ++i) writable_[offset + i] = static_cast<std::uint8_t>(mask >> (8 * i));
}

void PciConfig::add_bar(unsigned bar, std::uint32_t size) {
    PENUMBRA_ASSERT(bar < pci::bars && std::has_single_bit(size) && size >= page_bytes, "a BAR is whole pages");
    bar_bytes_[bar] = size;
    // Type bits 0: 32-bit memory, not prefetchable. A guest that writes ones reads the size back.
    allow(pci::first_bar + 4 * bar, 4, ~(size - 1));
}

unsigned PciConfig::add_capability(std::uint8_t id, unsigned size) {
    const unsigned at = next_free_;
    next_free_ += (size + 3) & ~3U;
    PENUMBRA_ASSERT(next_free_ <= bytes, "capabilities fit the configuration space");
    set(at, 1, id);
    set(last_capability_ == 0 ? pci::capability_pointer : last_capability_ + 1, 1, at);
    set(pci::status, 2, get(pci::status, 2) | pci::status_capabilities);
    last_capability_ = at;
    return at;
}

std::optional<Gpa> PciConfig::bar_at(unsigned bar) const {
    if (bar_bytes_[bar] == 0 || !command_has(pci::command_memory)) return std::nullopt;
    return Gpa{get(pci::first_bar + 4 * bar, 4)};
}

}  // namespace penumbra::vmm
