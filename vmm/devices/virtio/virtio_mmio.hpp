// A virtio device behind memory-mapped registers (Virtual I/O Device 1.2, 4.2; version 2).
#pragma once

#include <cstdint>
#include <optional>

#include "vmm/devices/device.hpp"
#include "vmm/devices/interrupts.hpp"
#include "vmm/devices/virtio/virtio_transport.hpp"

namespace penumbra::vmm {

/// A write of 0 to the status returns when the reset is done: drivers do not wait for it (Linux,
/// drivers/virtio/virtio_mmio.c, vm_reset). That lasts as long as the device's kernel I/O in flight.
class VirtioMmio final : public Device, public VirtioTransport {
public:
    static constexpr std::uint64_t bytes = 0x1000;

    struct Place {
        Gpa base;
        Gsi line{};
        std::uint32_t source = 0;  ///< tells the sharers of the line apart
    };
    /// All outlive it. A device with a single queue gets its notifications through `doorbells`.
    VirtioMmio(VirtioDevice& device, Place place, Interrupts& interrupts, Doorbells* doorbells);
    ~VirtioMmio() override;

    [[nodiscard]] std::uint64_t read(std::uint64_t offset, unsigned size) override EXCLUDES(mutex_);
    void write(std::uint64_t offset, unsigned size, std::uint64_t value) override EXCLUDES(mutex_);

private:
    [[nodiscard]] std::uint32_t read_register(std::uint64_t offset) REQUIRES(mutex_);
    [[nodiscard]] std::uint32_t read_queue_register(std::uint64_t offset) REQUIRES(mutex_);
    void write_register(std::uint64_t offset, std::uint32_t value) REQUIRES(mutex_);
    void write_queue_register(std::uint64_t offset, std::uint32_t value) REQUIRES(mutex_);

    void raise_queue(unsigned queue) override REQUIRES(mutex_);
    void raise_config() override REQUIRES(mutex_);
    void registers_cleared() override REQUIRES(mutex_);
    void set_interrupt_status(std::uint8_t value) REQUIRES(mutex_);

    const Place place_;
    Interrupts& interrupts_;
    Doorbells* doorbells_;  // null: notifications come as writes
    std::uint32_t device_features_word_ GUARDED_BY(mutex_) = 0;
    std::uint32_t driver_features_word_ GUARDED_BY(mutex_) = 0;
    std::uint32_t queue_ GUARDED_BY(mutex_) = 0;
    std::uint8_t interrupt_status_ GUARDED_BY(mutex_) = 0;
};

}  // namespace penumbra::vmm
