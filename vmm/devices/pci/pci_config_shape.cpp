// What a function has: its identity, BARs and capabilities, as its device model says.
#include <bit>

#include "base/assert.hpp"
#include "vmm/devices/pci/pci_config.hpp"

namespace penumbra::vmm {

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

}  // namespace penumbra::vmm
