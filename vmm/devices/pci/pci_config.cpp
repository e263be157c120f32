#include "vmm/devices/pci/pci_config.hpp"

#include "base/assert.hpp"

namespace penumbra::vmm {

namespace {

bool is_allowed(std::uint64_t offset, unsigned size) {
    return (size == 1 || size == 2 || size == 4) && offset % size == 0 && offset < PciConfig::extended_bytes;
}

}  // namespace

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

std::optional<Gpa> PciConfig::bar_at(unsigned bar) const {
    if (bar_bytes_[bar] == 0 || !command_has(pci::command_memory)) return std::nullopt;
    return Gpa{get(pci::first_bar + 4 * bar, 4)};
}

}  // namespace penumbra::vmm
