// How a guest turns its machine off or restarts it, and how it hears of its power button: ACPI fixed hardware (ACPI
// 6.5, 4.8.3) and the two reset ports of PCs. Addresses: vmm/boot/platform_map.hpp.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>

#include "base/mutex.hpp"
#include "vmm/devices/device.hpp"
#include "vmm/devices/interrupts.hpp"

namespace penumbra::vmm {

/// Called on vCPU threads with no lock held, possibly several times.
class PowerListener {
public:
    virtual ~PowerListener() = default;
    virtual void guest_powered_off() = 0;
    virtual void guest_wants_reset() = 0;
};

/// PM1a status, enable and control and the PM timer, at platform::pm1a_event_port and after. ACPI mode is always on.
/// The timer raises no interrupt: its status and enable bits stay 0. Thread-safe. Registers answer to any access
/// within them, byte by byte.
class PowerManagement final : public Device {
public:
    static constexpr std::uint16_t ports = 12;
    using Clock = std::function<std::chrono::nanoseconds()>;

    /// The first two outlive the device. `clock` never goes backwards.
    PowerManagement(PowerListener& listener, Interrupts& interrupts, Clock clock);

    [[nodiscard]] std::uint64_t read(std::uint64_t offset, unsigned bytes) override EXCLUDES(mutex_);
    void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override EXCLUDES(mutex_);

    /// The guest is told, if it wants to be. Any thread.
    void press_power_button() EXCLUDES(mutex_);
    /// Power-on state; the timer goes on.
    void reset() EXCLUDES(mutex_);

private:
    [[nodiscard]] std::uint8_t read_byte(std::uint64_t offset) const REQUIRES(mutex_);
    void write_byte(std::uint64_t offset, std::uint8_t value) REQUIRES(mutex_);
    void drive_line() REQUIRES(mutex_);
    [[nodiscard]] std::uint32_t timer() const;

    PowerListener& listener_;
    Interrupts& interrupts_;
    const Clock clock_;
    Mutex mutex_{LockRank::report};
    std::uint16_t status_ GUARDED_BY(mutex_) = 0;
    std::uint16_t enable_ GUARDED_BY(mutex_) = 0;
    std::uint16_t control_ GUARDED_BY(mutex_) = 0;
    bool line_high_ GUARDED_BY(mutex_) = false;
};

/// A byte written to the reset control register, platform::reset_port. It lies within the PCI configuration ports,
/// whose device hands it on.
void write_reset_control(std::uint8_t value, PowerListener& listener);

/// A keyboard controller that knows one command: pulse the processor's reset line. Always ready for it.
class KeyboardReset final : public Device {
public:
    explicit KeyboardReset(PowerListener& listener) : listener_(listener) {}

    [[nodiscard]] std::uint64_t read(std::uint64_t offset, unsigned bytes) override;
    void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override;

private:
    PowerListener& listener_;
};

}  // namespace penumbra::vmm
