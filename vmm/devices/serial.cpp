#include "vmm/devices/serial.hpp"

#include <utility>

namespace penumbra::vmm {

namespace {

// Registers and bits as in the PC16550D data sheet, table II.
constexpr std::uint64_t data_register = 0, ier = 1, iir_fcr = 2, lcr = 3, mcr = 4, lsr = 5, msr = 6, scr = 7;
constexpr std::uint8_t lcr_divisor = 0x80;
constexpr std::uint8_t lsr_sender_empty = 0x60;  // holding and shift register
constexpr std::uint8_t ier_sender = 0x02, ier_all = 0x0F;
constexpr std::uint8_t iir_none = 0x01, iir_sender = 0x02, iir_fifos = 0xC0;
constexpr std::uint8_t mcr_loop = 0x10, mcr_all = 0x1F;
constexpr std::uint8_t msr_connected = 0xB0;  // carrier, data set ready, clear to send

constexpr std::size_t longest_line = 1024;

}  // namespace

std::uint64_t Serial::read(std::uint64_t offset, unsigned bytes) {
    if (bytes != 1) return all_ones;
    const MutexLock lock(mutex_);
    return read_register(offset);
}

void Serial::write(std::uint64_t offset, unsigned bytes, std::uint64_t value) {
    if (bytes != 1) return;
    std::optional<std::string> line;
    {
        const MutexLock lock(mutex_);
        line = write_register(offset, static_cast<std::uint8_t>(value));
    }
    if (line) sink_(terminal_text(*line));  // outside the lock: the sink may block
}

void Serial::flush() {
    std::string line;
    {
        const MutexLock lock(mutex_);
        line = std::exchange(line_, {});
    }
    if (!line.empty()) sink_(terminal_text(line));
}

std::uint8_t Serial::read_register(std::uint64_t offset) {
    switch (offset) {
        case data_register:
            return divisor_selected() ? divisor_[0] : std::uint8_t{0};
        case ier:
            return divisor_selected() ? divisor_[1] : interrupt_enable_;
        case iir_fcr:
            return interrupt_identity();
        case lcr:
            return line_control_;
        case mcr:
            return modem_control_;
        case lsr:
            return lsr_sender_empty;
        case msr:
            return modem_status();
        case scr:
            return scratch_;
        default:
            return 0xFF;
    }
}

std::optional<std::string> Serial::write_register(std::uint64_t offset, std::uint8_t value) {
    switch (offset) {
        case data_register:
            if (divisor_selected()) {
                divisor_[0] = value;
                break;
            }
            sender_empty_reported_ = false;
            if ((modem_control_ & mcr_loop) != 0) break;  // nothing leaves a port that tests itself
            return send(static_cast<char>(value));
        case ier:
            if (divisor_selected()) {
                divisor_[1] = value;
                break;
            }
            interrupt_enable_ = value & ier_all;
            sender_empty_reported_ = false;
            break;
        case iir_fcr:
            fifo_control_ = value;
            break;
        case lcr:
            line_control_ = value;
            break;
        case mcr:
            modem_control_ = value & mcr_all;
            break;
        case scr:
            scratch_ = value;
            break;
        default:
            break;  // status registers are read-only
    }
    return std::nullopt;
}

std::optional<std::string> Serial::send(char c) {
    if (c == '\r') return std::nullopt;
    if (c != '\n') line_.push_back(c);
    if (c != '\n' && line_.size() < longest_line) return std::nullopt;
    return std::exchange(line_, {});
}

bool Serial::divisor_selected() const { return (line_control_ & lcr_divisor) != 0; }

// Pollers of a port without an interrupt look here whether they may send.
std::uint8_t Serial::interrupt_identity() {
    const std::uint8_t fifos = (fifo_control_ & 1) != 0 ? iir_fifos : std::uint8_t{0};
    if ((interrupt_enable_ & ier_sender) == 0 || sender_empty_reported_) return fifos | iir_none;
    sender_empty_reported_ = true;
    return fifos | iir_sender;
}

std::uint8_t Serial::modem_status() const {
    if ((modem_control_ & mcr_loop) == 0) return msr_connected;
    // Looped back, the outputs DTR, RTS, OUT1, OUT2 show up as the inputs DSR, CTS, RI, DCD.
    const unsigned out = modem_control_;
    return static_cast<std::uint8_t>((out & 1) << 5 | (out & 2) << 3 | (out & 4) << 4 | (out & 8) << 4);
}

}  // namespace penumbra::vmm
