// The 256 bytes of a PCI function's configuration space, with what the guest may write of them (PCI Local Bus 3.0, 6).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/address.hpp"

namespace penumbra::vmm {

/// Register offsets and bits of a type 0 header.
namespace pci {
inline constexpr unsigned vendor_id = 0x00;
inline constexpr unsigned device_id = 0x02;
inline constexpr unsigned command = 0x04;
inline constexpr unsigned status = 0x06;
inline constexpr unsigned revision = 0x08;
inline constexpr unsigned class_code = 0x09;  ///< programming interface, subclass, class
inline constexpr unsigned cache_line_size = 0x0C;
inline constexpr unsigned first_bar = 0x10;
inline constexpr unsigned subsystem_vendor_id = 0x2C;
inline constexpr unsigned subsystem_id = 0x2E;
inline constexpr unsigned capability_pointer = 0x34;
inline constexpr unsigned interrupt_line = 0x3C;
inline constexpr unsigned interrupt_pin = 0x3D;
inline constexpr unsigned header_bytes = 0x40;
inline constexpr unsigned bars = 6;

inline constexpr std::uint16_t command_memory = 1U << 1;
inline constexpr std::uint16_t command_master = 1U << 2;
inline constexpr std::uint16_t command_no_intx = 1U << 10;
inline constexpr std::uint16_t status_interrupt = 1U << 3;
inline constexpr std::uint16_t status_capabilities = 1U << 4;
}  // namespace pci

struct PciIdentity {
    std::uint16_t vendor = 0;
    std::uint16_t device = 0;
    std::uint8_t revision = 0;
    std::uint32_t class_code = 0;  ///< 24 bits
    std::uint16_t subsystem_vendor = 0;
    std::uint16_t subsystem = 0;
};

/// One thread at a time. Offsets of the owner's calls are asserted to lie inside; the guest's are checked.
class PciConfig {
public:
    static constexpr std::size_t bytes = 256;
    static constexpr std::size_t extended_bytes = 4096;

    explicit PciConfig(const PciIdentity& identity);

    // ---- the guest: 1, 2 or 4 bytes, naturally aligned; anything else reads all ones and swallows writes. From 256 to
    // 4095 there are zeroes: no extended capabilities ----
    [[nodiscard]] std::uint32_t read(std::uint64_t offset, unsigned size) const;
    void write(std::uint64_t offset, unsigned size, std::uint32_t value);

    // ---- the function itself ----
    [[nodiscard]] std::uint32_t get(unsigned offset, unsigned size) const;
    void set(unsigned offset, unsigned size, std::uint32_t value);
    /// Lets the guest write the bits of `mask`.
    void allow(unsigned offset, unsigned size, std::uint32_t mask);
    /// A 32-bit memory BAR of `size` bytes: a power of two, at least a page.
    void add_bar(unsigned bar, std::uint32_t size);
    /// Appends a capability of `size` bytes (its first two included) and returns its offset.
    unsigned add_capability(std::uint8_t id, unsigned size);

    [[nodiscard]] std::uint32_t bar_bytes(unsigned bar) const { return bar_bytes_[bar]; }
    void place_bar(unsigned bar, std::uint32_t at) { set(pci::first_bar + 4 * bar, 4, at); }
    /// Where the BAR answers; nothing while memory decoding is off.
    [[nodiscard]] std::optional<Gpa> bar_at(unsigned bar) const;
    [[nodiscard]] bool command_has(std::uint16_t bit) const { return (get(pci::command, 2) & bit) != 0; }

private:
    std::array<std::uint8_t, bytes> bytes_{};
    std::array<std::uint8_t, bytes> writable_{};
    std::array<std::uint32_t, pci::bars> bar_bytes_{};
    unsigned last_capability_ = 0;
    unsigned next_free_ = pci::header_bytes;
};

}  // namespace penumbra::vmm
