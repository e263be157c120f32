// Which device answers at which guest-physical address and port.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/address.hpp"
#include "base/counters.hpp"
#include "vmm/devices/device.hpp"

namespace penumbra::vmm {

/// Built by one thread, then sealed; after that any number of vCPU threads use it without a lock. Devices outlive the
/// bus.
class Bus {
public:
    /// Asserts that the range is not empty, overlaps no other, and that the bus is not sealed.
    void add_mmio(Gpa first, std::uint64_t bytes, Device& device);
    void add_ports(std::uint16_t first, std::uint16_t count, Device& device);
    /// Ends building. Must come before any vCPU thread starts.
    void seal() { sealed_ = true; }

    /// One access of data.size() (1..8) bytes. What no device holds entirely reads as all ones, swallows writes, and
    /// counts.
    void read_mmio(Gpa from, std::span<std::byte> data);
    void write_mmio(Gpa to, std::span<const std::byte> data);
    /// data.size() / size accesses of `size` (1, 2 or 4) bytes at one port, in order: the string instructions.
    void read_port(std::uint16_t port, std::size_t size, std::span<std::byte> data);
    void write_port(std::uint16_t port, std::size_t size, std::span<const std::byte> data);

    /// Accesses to addresses that nothing answers.
    [[nodiscard]] std::uint64_t unknown_accesses() const { return unknown_.get(); }

private:
    struct Range {
        std::uint64_t first;
        std::uint64_t bytes;
        Device* device;
    };
    using Ranges = std::vector<Range>;  // in address order, disjoint

    void add(Ranges& ranges, Range range) const;
    [[nodiscard]] const Range* find(const Ranges& ranges, std::uint64_t first, std::size_t bytes) const;
    void read(const Ranges& ranges, std::uint64_t first, std::span<std::byte> data);
    void write(const Ranges& ranges, std::uint64_t first, std::span<const std::byte> data);

    Ranges mmio_;
    Ranges ports_;
    bool sealed_ = false;
    Counter unknown_;
};

}  // namespace penumbra::vmm
