// The host bridge in slot 0: an identity and nothing else.
#pragma once

#include "vmm/devices/pci/pci_function.hpp"

namespace penumbra::vmm {

class HostBridge final : public PciFunction {
public:
    HostBridge() : PciFunction({.vendor = 0x1B36, .device = 0x0008, .class_code = 0x06'0000}) {}

    void connect(Gsi /*line*/, std::uint32_t /*source*/) override {}
    void bar_moved(unsigned /*bar*/, std::optional<Gpa> /*at*/) override {}
    void reset() override {}
    [[nodiscard]] std::uint64_t read_bar(unsigned /*bar*/, std::uint64_t /*offset*/, unsigned /*size*/) override {
        return Device::all_ones;
    }
    void write_bar(unsigned /*bar*/, std::uint64_t /*offset*/, unsigned /*size*/, std::uint64_t /*value*/) override {}
};

}  // namespace penumbra::vmm
