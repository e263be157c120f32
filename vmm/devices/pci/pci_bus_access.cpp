// The machine's three ways to PCI functions.
#include <atomic>
#include <optional>

#include "vmm/devices/pci/pci_bus.hpp"

namespace penumbra::vmm {

// ---- ECAM: slot in bits 15..19, function in 12..14, register below ----

namespace {

struct EcamTarget {
    unsigned slot;
    bool exists;
    std::uint64_t offset;
};

EcamTarget ecam_target(std::uint64_t offset, unsigned bytes) {
    const bool first_function = ((offset >> 12) & 7) == 0;
    return {static_cast<unsigned>(offset >> 15), first_function && bytes <= 4, offset & 0xFFF};
}

}  // namespace

std::uint64_t PciBus::Ecam::read(std::uint64_t offset, unsigned bytes) {
    const EcamTarget target = ecam_target(offset, bytes);
    if (!target.exists) return all_ones;
    return bus_.read_config(target.slot, target.offset, bytes);
}

void PciBus::Ecam::write(std::uint64_t offset, unsigned bytes, std::uint64_t value) {
    const EcamTarget target = ecam_target(offset, bytes);
    if (!target.exists) return;
    bus_.write_config(target.slot, target.offset, bytes, static_cast<std::uint32_t>(value));
}

// ---- configuration mechanism 1: an address register and a window of 4 bytes ----

std::uint64_t PciBus::ConfigPorts::read(std::uint64_t offset, unsigned bytes) {
    const std::uint32_t address = address_.load(std::memory_order_relaxed);
    if (offset == 0 && bytes == 4) return address;
    if (offset < 4 || offset + bytes > 8 || (address >> 31) == 0) return all_ones;
    if (((address >> 8) & 0xFF07) != 0) return all_ones;  // another bus or function
    return bus_.read_config((address >> 11) & 31, (address & 0xFC) + (offset - 4), bytes);
}

void PciBus::ConfigPorts::write(std::uint64_t offset, unsigned bytes, std::uint64_t value) {
    if (offset == 0 && bytes == 4) {
        address_.store(static_cast<std::uint32_t>(value) & 0x80FF'FFFC, std::memory_order_relaxed);
        return;
    }
    if (offset == 1 && bytes == 1) {
        if (reset_port_) reset_port_(static_cast<std::uint8_t>(value));
        return;
    }
    const std::uint32_t address = address_.load(std::memory_order_relaxed);
    if (offset < 4 || offset + bytes > 8 || (address >> 31) == 0 || ((address >> 8) & 0xFF07) != 0) return;
    bus_.write_config((address >> 11) & 31, (address & 0xFC) + (offset - 4), bytes, static_cast<std::uint32_t>(value));
}

// ---- memory window ----

std::optional<PciBus::Mapping> PciBus::find(std::uint64_t offset, unsigned bytes) {
    const MutexLock lock(mutex_);
    for (const Mapping& mapping : mappings_) {
        if (offset >= mapping.first && offset - mapping.first < mapping.bytes &&
            bytes <= mapping.bytes - (offset - mapping.first)) {
            return mapping;
        }
    }
    return std::nullopt;
}

std::uint64_t PciBus::MemoryWindow::read(std::uint64_t offset, unsigned bytes) {
    const std::optional<Mapping> mapping = bus_.find(offset, bytes);
    return mapping ? mapping->function->read_bar(mapping->bar, offset - mapping->first, bytes) : all_ones;
}

void PciBus::MemoryWindow::write(std::uint64_t offset, unsigned bytes, std::uint64_t value) {
    if (const std::optional<Mapping> mapping = bus_.find(offset, bytes)) {
        mapping->function->write_bar(mapping->bar, offset - mapping->first, bytes, value);
    }
}

}  // namespace penumbra::vmm
