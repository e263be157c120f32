#include "vmm/devices/pci/pci_bus.hpp"

#include <algorithm>

#include "base/assert.hpp"
#include "vmm/devices/pci/host_bridge.hpp"

namespace penumbra::vmm {

PciBus::PciBus(Window window, std::function<void(std::uint8_t)> reset_port)
    : place_(window), config_ports_(*this, std::move(reset_port)), host_bridge_(std::make_unique<HostBridge>()) {
    PENUMBRA_ASSERT(window.first.value() + window.bytes <= std::uint64_t{1} << 32, "BARs have 32 bits");
    add(0, *host_bridge_);
}

PciBus::~PciBus() = default;

void PciBus::add(unsigned slot, PciFunction& function) {
    PENUMBRA_ASSERT(slot < slots, "a bus has 32 slots");
    const MutexLock lock(mutex_);
    PENUMBRA_ASSERT(functions_[slot] == nullptr, "two functions want one slot");
    functions_[slot] = &function;
    const std::uint32_t line = 16 + slot % 4;
    function.config().set(pci::interrupt_line, 1, line);
    function.connect(Gsi{line}, slot);
}

// ---- configuration ----

std::uint32_t PciBus::read_config(unsigned slot, std::uint64_t offset, unsigned size) {
    const MutexLock lock(mutex_);
    PciFunction* function = functions_[slot];
    return function == nullptr ? ~std::uint32_t{0} : function->read_config(offset, size);
}

void PciBus::write_config(unsigned slot, std::uint64_t offset, unsigned size, std::uint32_t value) {
    const MutexLock lock(mutex_);
    PciFunction* function = functions_[slot];
    if (function == nullptr) return;
    function->write_config(offset, size, value);
    // The command register decides whether BARs answer.
    if (offset < pci::first_bar + 4 * pci::bars) map(slot);
}

std::optional<std::uint64_t> PciBus::inside(const PciConfig& config, unsigned bar) const {
    const std::optional<Gpa> at = config.bar_at(bar);
    if (!at || at->value() < place_.first.value()) return std::nullopt;
    const std::uint64_t offset = *at - place_.first;
    if (offset > place_.bytes || config.bar_bytes(bar) > place_.bytes - offset) return std::nullopt;
    return offset;
}

void PciBus::map(unsigned slot) {
    PciFunction& function = *functions_[slot];
    for (unsigned bar = 0; bar < pci::bars; ++bar) {
        if (function.config().bar_bytes(bar) == 0) continue;
        const auto known = std::ranges::find_if(
            mappings_, [&](const Mapping& mapping) { return mapping.slot == slot && mapping.bar == bar; });
        const std::optional<std::uint64_t> offset = inside(function.config(), bar);
        const std::optional<std::uint64_t> before =
            known == mappings_.end() ? std::nullopt : std::optional{known->first};
        if (offset == before) continue;
        if (known != mappings_.end()) mappings_.erase(known);
        if (offset) {
            const Mapping mapping{*offset, function.config().bar_bytes(bar), slot, bar, &function};
            const auto after = std::ranges::find_if(mappings_, [&](const Mapping& other) {
                return other.slot > slot || (other.slot == slot && other.bar > bar);
            });
            mappings_.insert(after, mapping);
        }
        function.bar_moved(bar, offset ? std::optional{place_.first + *offset} : std::nullopt);
    }
}

// ---- power-on ----

void PciBus::power_on() {
    std::array<PciFunction*, slots> functions{};
    {
        const MutexLock lock(mutex_);
        functions = functions_;
    }
    // Without the lock: a reset waits for I/O in flight.
    for (PciFunction* function : functions) {
        if (function != nullptr) function->reset();
    }
    const MutexLock lock(mutex_);
    std::uint64_t next = place_.first.value();
    for (unsigned slot = 0; slot < slots; ++slot) {
        if (functions_[slot] != nullptr) place(slot, next);
    }
}

void PciBus::place(unsigned slot, std::uint64_t& next) {
    PciConfig& config = functions_[slot]->config();
    bool any = false;
    for (unsigned bar = 0; bar < pci::bars; ++bar) {
        const std::uint64_t size = config.bar_bytes(bar);
        if (size == 0) continue;
        next = (next + size - 1) & ~(size - 1);
        PENUMBRA_ASSERT(next + size <= place_.first.value() + place_.bytes, "all BARs fit the window");
        config.place_bar(bar, static_cast<std::uint32_t>(next));
        next += size;
        any = true;
    }
    config.set(pci::command, 2, any ? pci::command_memory : 0);
    config.set(pci::interrupt_line, 1, 16 + slot % 4);
    map(slot);
}

}  // namespace penumbra::vmm
