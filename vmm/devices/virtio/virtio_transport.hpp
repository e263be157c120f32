// What PCI and MMIO share: the driver's steps from reset to DRIVER_OK and back (Virtual I/O Device 1.2, 2.1, 3.1).
#pragma once

#include <cstdint>
#include <vector>

#include "base/mutex.hpp"
#include "vmm/devices/virtio/virtio_device.hpp"

namespace penumbra::vmm {

/// Bits of the device status (2.1).
namespace virtio_status {
inline constexpr std::uint8_t acknowledge = 1;
inline constexpr std::uint8_t driver = 2;
inline constexpr std::uint8_t driver_ok = 4;
inline constexpr std::uint8_t features_ok = 8;
inline constexpr std::uint8_t needs_reset = 64;
inline constexpr std::uint8_t failed = 128;
}  // namespace virtio_status

/// Bits of the interrupt status.
namespace virtio_isr {
inline constexpr std::uint8_t queue = 1;
inline constexpr std::uint8_t config = 2;
}  // namespace virtio_isr

/// Thread-safe. Registers belong to vCPU threads, events to the device's loop; both meet under mutex_.
///
/// A reset begins with the driver's write of 0 and ends on the loop, when the device's kernel I/O in flight has ended.
/// In between the status keeps its bits, writes are ignored, and no interrupt is raised.
class VirtioTransport : public VirtioEvents {
public:
    VirtioTransport(const VirtioTransport&) = delete;
    VirtioTransport& operator=(const VirtioTransport&) = delete;

    void queue_interrupt(unsigned queue) final EXCLUDES(mutex_);
    void config_interrupt() final EXCLUDES(mutex_);
    void needs_reset() final EXCLUDES(mutex_);

    /// As the driver's reset, for the machine's: returns once it is done. Not on the loop; the loop runs.
    void reset_device() EXCLUDES(mutex_);
    /// Ends waits for resets, now and later: the loop is about to stop.
    void release_waiters() EXCLUDES(mutex_);

    [[nodiscard]] VirtioDevice& device() { return device_; }

protected:
    /// The device outlives the transport's use; the loop has stopped when the transport is destroyed.
    explicit VirtioTransport(VirtioDevice& device);

    struct Queue {
        std::uint16_t size = 0;
        std::uint64_t descriptors = 0;
        std::uint64_t available = 0;
        std::uint64_t used = 0;
        bool enabled = false;
    };

    // ---- registers ----
    [[nodiscard]] std::uint8_t status() const REQUIRES(mutex_) { return status_; }
    /// Bits are only ever added, in the order of 3.1.1, and FEATURES_OK only for features that can be had; 0 resets.
    void write_status(std::uint8_t value) REQUIRES(mutex_);
    void wait_while_resetting() REQUIRES(mutex_);
    [[nodiscard]] bool resetting() const REQUIRES(mutex_) { return resetting_; }

    [[nodiscard]] std::uint32_t offered_features(std::uint32_t word) const;
    [[nodiscard]] std::uint32_t driver_features(std::uint32_t word) const REQUIRES(mutex_);
    void write_driver_features(std::uint32_t word, std::uint32_t value) REQUIRES(mutex_);

    /// Null for a number that the device has no queue for.
    [[nodiscard]] Queue* find_queue(unsigned number) REQUIRES(mutex_);
    /// Null when it may not be changed now: it is enabled, the device is active, or is being reset.
    [[nodiscard]] Queue* changeable_queue(unsigned number) REQUIRES(mutex_);
    void enable_queue(unsigned number, bool enabled) REQUIRES(mutex_);
    /// A notification that came as an ordinary write.
    void notify(unsigned number);

    // ---- how the transport interrupts; not during a reset ----
    virtual void raise_queue(unsigned queue) REQUIRES(mutex_) = 0;
    virtual void raise_config() REQUIRES(mutex_) = 0;
    /// All registers have the values of a device after reset; the transport's own have not yet.
    virtual void registers_cleared() REQUIRES(mutex_) = 0;

    Mutex mutex_{LockRank::virtio};

private:
    void begin_reset() REQUIRES(mutex_);
    void finish_reset() EXCLUDES(mutex_);
    void clear_registers() REQUIRES(mutex_);
    void add_status(std::uint8_t bit) REQUIRES(mutex_);
    void activate() REQUIRES(mutex_);

    VirtioDevice& device_;
    CondVar reset_done_;
    std::uint8_t status_ GUARDED_BY(mutex_) = 0;
    std::uint64_t driver_features_ GUARDED_BY(mutex_) = 0;
    std::vector<Queue> queues_ GUARDED_BY(mutex_);
    bool active_ GUARDED_BY(mutex_) = false;
    bool resetting_ GUARDED_BY(mutex_) = false;
    bool released_ GUARDED_BY(mutex_) = false;
};

/// The two halves of a 64-bit register.
constexpr void set_low(std::uint64_t& word, std::uint32_t value) { word = (word & 0xFFFF'FFFF'0000'0000) | value; }
constexpr void set_high(std::uint64_t& word, std::uint32_t value) {
    word = (word & 0xFFFF'FFFF) | (std::uint64_t{value} << 32);
}

}  // namespace penumbra::vmm
