// A 16550A serial port: enough for Linux's 8250 driver with the port's interrupt, and for guests that poll. It sends
// without delay, so its transmitter is always empty.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>

#include "base/mutex.hpp"
#include "vmm/devices/console_port.hpp"
#include "vmm/devices/device.hpp"
#include "vmm/devices/interrupts.hpp"

namespace penumbra::vmm {

/// Eight one-byte registers; other sizes read as all ones and write nothing. Thread-safe; bytes of one vCPU stay in
/// order.
///
/// Input waits outside until the guest wants the receive interrupt and has connected the port's interrupt pin (OUT2):
/// drivers throw away what came earlier.
class Serial : public Device, public ConsolePort {
public:
    static constexpr std::uint16_t first_port = 0x3F8;
    static constexpr std::uint16_t ports = 8;
    static constexpr std::size_t fifo_bytes = 16;

    /// `peer` and `interrupts` outlive the port; no `interrupts`: the pin is connected to nothing.
    explicit Serial(ConsolePeer& peer, Interrupts* interrupts = nullptr, Gsi line = Gsi{4})
        : peer_(peer), interrupts_(interrupts), line_(line) {}

    [[nodiscard]] std::uint64_t read(std::uint64_t offset, unsigned bytes) override EXCLUDES(mutex_);
    void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override EXCLUDES(mutex_);
    [[nodiscard]] std::size_t receive(std::span<const std::byte> bytes) override EXCLUDES(mutex_);
    /// Power-on state; what was received and not read is lost.
    void reset() EXCLUDES(mutex_);

private:
    struct Registers {
        std::array<std::uint8_t, 2> divisor{1, 0};
        std::uint8_t interrupt_enable = 0;
        std::uint8_t fifo_control = 0;
        std::uint8_t line_control = 0;
        std::uint8_t modem_control = 0;
        std::uint8_t scratch = 0;
        bool sender_empty_pending = false;  // since the guest last asked why it was interrupted
        bool overrun = false;
        std::deque<std::uint8_t> received;
    };

    [[nodiscard]] std::uint8_t read_register(std::uint64_t offset) REQUIRES(mutex_);
    /// The byte to send, if that is what the write meant.
    [[nodiscard]] std::optional<std::byte> write_register(std::uint64_t offset, std::uint8_t value) REQUIRES(mutex_);
    [[nodiscard]] std::optional<std::byte> write_data(std::uint8_t value) REQUIRES(mutex_);
    void write_fifo_control(std::uint8_t value) REQUIRES(mutex_);
    [[nodiscard]] bool divisor_selected() const REQUIRES(mutex_);
    [[nodiscard]] bool looped() const REQUIRES(mutex_);
    [[nodiscard]] std::size_t room() const REQUIRES(mutex_);
    [[nodiscard]] bool takes_input() const REQUIRES(mutex_);
    [[nodiscard]] std::uint8_t take_received() REQUIRES(mutex_);
    [[nodiscard]] std::uint8_t pending_cause() const REQUIRES(mutex_);
    [[nodiscard]] std::uint8_t interrupt_identity() REQUIRES(mutex_);
    [[nodiscard]] std::uint8_t line_status() REQUIRES(mutex_);
    [[nodiscard]] std::uint8_t modem_status() const REQUIRES(mutex_);
    void drive_pin() REQUIRES(mutex_);
    [[nodiscard]] bool owes_input() REQUIRES(mutex_);

    ConsolePeer& peer_;
    Interrupts* const interrupts_;
    const Gsi line_;
    Mutex mutex_{LockRank::report};
    Registers registers_ GUARDED_BY(mutex_);
    bool pin_high_ GUARDED_BY(mutex_) = false;
    bool refused_input_ GUARDED_BY(mutex_) = false;
};

}  // namespace penumbra::vmm
