// A 16550 serial port's sending half: enough for a guest that polls, as boot loaders, freestanding guests and Linux
// without the port's interrupt do. Nothing is ever received.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "base/mutex.hpp"
#include "vmm/devices/device.hpp"
#include "vmm/devices/terminal_text.hpp"

namespace penumbra::vmm {

/// Eight one-byte registers; other sizes read as all ones and write nothing. Thread-safe; lines of one vCPU stay in
/// order.
class Serial : public Device {
public:
    static constexpr std::uint16_t first_port = 0x3F8;
    static constexpr std::uint16_t ports = 8;

    explicit Serial(LineSink sink) : sink_(std::move(sink)) {}

    [[nodiscard]] std::uint64_t read(std::uint64_t offset, unsigned bytes) override;
    void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override;
    /// Hands on what was sent since the last line end.
    void flush();

private:
    [[nodiscard]] std::uint8_t read_register(std::uint64_t offset) REQUIRES(mutex_);
    [[nodiscard]] std::optional<std::string> write_register(std::uint64_t offset, std::uint8_t value) REQUIRES(mutex_);
    [[nodiscard]] std::optional<std::string> send(char c) REQUIRES(mutex_);
    [[nodiscard]] bool divisor_selected() const REQUIRES(mutex_);
    [[nodiscard]] std::uint8_t interrupt_identity() REQUIRES(mutex_);
    [[nodiscard]] std::uint8_t modem_status() const REQUIRES(mutex_);

    const LineSink sink_;
    Mutex mutex_{LockRank::leaf};
    std::string line_ GUARDED_BY(mutex_);
    std::array<std::uint8_t, 2> divisor_ GUARDED_BY(mutex_){1, 0};
    std::uint8_t interrupt_enable_ GUARDED_BY(mutex_) = 0;
    std::uint8_t fifo_control_ GUARDED_BY(mutex_) = 0;
    std::uint8_t line_control_ GUARDED_BY(mutex_) = 0;
    std::uint8_t modem_control_ GUARDED_BY(mutex_) = 0;
    std::uint8_t scratch_ GUARDED_BY(mutex_) = 0;
    bool sender_empty_reported_ GUARDED_BY(mutex_) = true;
};

}  // namespace penumbra::vmm
