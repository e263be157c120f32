// What the bus asks of a device.
#pragma once

#include <cstdint>

namespace penumbra::vmm {

/// Called by vCPU threads, several at once: implementations are thread-safe. `offset` counts from the start of the
/// registered range and `offset + bytes` stays inside it; `bytes` is 1..8. All three come from the guest.
class Device {
public:
    virtual ~Device() = default;
    /// The value in the low `bytes` bytes; the rest is ignored. all_ones for what the device does not have.
    [[nodiscard]] virtual std::uint64_t read(std::uint64_t offset, unsigned bytes) = 0;
    virtual void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) = 0;

    static constexpr std::uint64_t all_ones = ~std::uint64_t{0};
};

}  // namespace penumbra::vmm
