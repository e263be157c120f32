// What the PCI bus asks of a function.
#pragma once

#include <cstdint>
#include <optional>

#include "base/address.hpp"
#include "vmm/devices/device.hpp"
#include "vmm/devices/interrupts.hpp"
#include "vmm/devices/pci/pci_config.hpp"

namespace penumbra::vmm {

/// Configuration: one thread at a time, under the bus's lock (PciBus). BARs: any threads, with no lock held.
class PciFunction {
public:
    explicit PciFunction(const PciIdentity& identity) : config_(identity) {}
    virtual ~PciFunction() = default;
    PciFunction(const PciFunction&) = delete;
    PciFunction& operator=(const PciFunction&) = delete;

    // ---- configuration ----
    /// Offset and size come from the guest.
    [[nodiscard]] std::uint32_t read_config(std::uint64_t offset, unsigned size) {
        about_to_read(offset, size);
        return config_.read(offset, size);
    }
    void write_config(std::uint64_t offset, unsigned size, std::uint32_t value) {
        config_.write(offset, size, value);
        written(offset, size);
    }
    [[nodiscard]] PciConfig& config() { return config_; }
    /// The pin's line, once, before the guest runs; and what tells sharers of the line apart.
    virtual void connect(Gsi line, std::uint32_t source) = 0;
    /// The BAR answers there from now on, or nowhere.
    virtual void bar_moved(unsigned bar, std::optional<Gpa> at) = 0;
    /// As after power-on, but for the BARs and the command register, which the bus sets. Waits for I/O in flight, with
    /// no lock held.
    virtual void reset() = 0;

    // ---- BARs: offset + size lie inside, size is 1..8 ----
    [[nodiscard]] virtual std::uint64_t read_bar(unsigned bar, std::uint64_t offset, unsigned size) = 0;
    virtual void write_bar(unsigned bar, std::uint64_t offset, unsigned size, std::uint64_t value) = 0;

protected:
    /// Brings registers up to date that change by themselves.
    virtual void about_to_read(std::uint64_t /*offset*/, unsigned /*size*/) {}
    /// The guest's write has taken place in config().
    virtual void written(std::uint64_t /*offset*/, unsigned /*size*/) {}

private:
    PciConfig config_;
};

}  // namespace penumbra::vmm
