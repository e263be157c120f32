#include "vmm/devices/serial.hpp"

#include <algorithm>
#include <utility>

namespace penumbra::vmm {

namespace {

// Registers and bits as in the PC16550D data sheet, table II.
constexpr std::uint64_t data_register = 0, ier = 1, iir_fcr = 2, lcr = 3, mcr = 4, lsr = 5, msr = 6, scr = 7;
constexpr std::uint8_t lcr_divisor = 0x80;
constexpr std::uint8_t lsr_data = 0x01, lsr_overrun = 0x02;
constexpr std::uint8_t lsr_sender_empty = 0x60;  // holding and shift register
constexpr std::uint8_t ier_received = 0x01, ier_sender = 0x02, ier_line = 0x04, ier_all = 0x0F;
constexpr std::uint8_t iir_none = 0x01, iir_sender = 0x02, iir_received = 0x04, iir_line = 0x06, iir_fifos = 0xC0;
constexpr std::uint8_t fcr_enable = 0x01, fcr_clear_received = 0x02;
constexpr std::uint8_t mcr_out2 = 0x08, mcr_loop = 0x10, mcr_all = 0x1F;
constexpr std::uint8_t msr_connected = 0xB0;  // carrier, data set ready, clear to send

}  // namespace

std::uint64_t Serial::read(std::uint64_t offset, unsigned bytes) {
    if (bytes != 1) return all_ones;
    std::uint8_t value = 0;
    bool more = false;
    {
        const MutexLock lock(mutex_);
        value = read_register(offset);
        drive_pin();
        more = owes_input();
    }
    if (more) peer_.ready_for_more();  // outside the lock: it may offer bytes at once
    return value;
}

void Serial::write(std::uint64_t offset, unsigned bytes, std::uint64_t value) {
    if (bytes != 1) return;
    std::optional<std::byte> sent;
    bool more = false;
    {
        const MutexLock lock(mutex_);
        sent = write_register(offset, static_cast<std::uint8_t>(value));
        drive_pin();
        more = owes_input();
    }
    if (sent) peer_.sent({&*sent, 1});
    if (more) peer_.ready_for_more();
}

std::size_t Serial::receive(std::span<const std::byte> bytes) {
    const MutexLock lock(mutex_);
    const std::size_t taken = takes_input() ? std::min(bytes.size(), room()) : 0;
    for (const std::byte byte : bytes.first(taken)) registers_.received.push_back(std::to_integer<std::uint8_t>(byte));
    refused_input_ = taken < bytes.size();
    drive_pin();
    return taken;
}

void Serial::reset() {
    bool more = false;
    {
        const MutexLock lock(mutex_);
        registers_ = {};
        drive_pin();
        more = owes_input();
    }
    if (more) peer_.ready_for_more();
}

bool Serial::divisor_selected() const { return (registers_.line_control & lcr_divisor) != 0; }
bool Serial::looped() const { return (registers_.modem_control & mcr_loop) != 0; }

std::size_t Serial::room() const {
    const std::size_t most = (registers_.fifo_control & fcr_enable) != 0 ? fifo_bytes : 1;
    return most - std::min(most, registers_.received.size());
}

bool Serial::takes_input() const {
    return (registers_.interrupt_enable & ier_received) != 0 && (registers_.modem_control & mcr_out2) != 0 && !looped();
}

// True once per refusal, when there is something to offer room for: not for every byte that the guest takes.
bool Serial::owes_input() {
    return refused_input_ && takes_input() && registers_.received.empty() && std::exchange(refused_input_, false);
}

std::uint8_t Serial::read_register(std::uint64_t offset) {
    switch (offset) {
        case data_register:
            return divisor_selected() ? registers_.divisor[0] : take_received();
        case ier:
            return divisor_selected() ? registers_.divisor[1] : registers_.interrupt_enable;
        case iir_fcr:
            return interrupt_identity();
        case lcr:
            return registers_.line_control;
        case mcr:
            return registers_.modem_control;
        case lsr:
            return line_status();
        case msr:
            return modem_status();
        case scr:
            return registers_.scratch;
        default:
            return 0xFF;
    }
}

std::optional<std::byte> Serial::write_register(std::uint64_t offset, std::uint8_t value) {
    switch (offset) {
        case data_register:
            return write_data(value);
        case ier:
            if (divisor_selected()) {
                registers_.divisor[1] = value;
                break;
            }
            // An empty transmitter is news again to a guest that begins to ask for it.
            if ((~registers_.interrupt_enable & value & ier_sender) != 0) registers_.sender_empty_pending = true;
            registers_.interrupt_enable = value & ier_all;
            break;
        case iir_fcr:
            write_fifo_control(value);
            break;
        case lcr:
            registers_.line_control = value;
            break;
        case mcr:
            registers_.modem_control = value & mcr_all;
            break;
        case scr:
            registers_.scratch = value;
            break;
        default:
            break;  // status registers are read-only
    }
    return std::nullopt;
}

std::optional<std::byte> Serial::write_data(std::uint8_t value) {
    if (divisor_selected()) {
        registers_.divisor[0] = value;
        return std::nullopt;
    }
    registers_.sender_empty_pending = true;
    if (!looped()) return std::byte{value};
    // Nothing leaves a port that tests itself: it hears what it says.
    if (room() > 0) {
        registers_.received.push_back(value);
    } else {
        registers_.overrun = true;
    }
    return std::nullopt;
}

void Serial::write_fifo_control(std::uint8_t value) {
    const bool switched = ((value ^ registers_.fifo_control) & fcr_enable) != 0;
    if (switched || (value & fcr_clear_received) != 0) registers_.received.clear();
    registers_.fifo_control = value;
}

std::uint8_t Serial::take_received() {
    if (registers_.received.empty()) return 0;
    const std::uint8_t value = registers_.received.front();
    registers_.received.pop_front();
    return value;
}

/// The most urgent reason to interrupt, as the identity register names it. Received bytes never wait for a trigger
/// level: to the guest it looks as if the time-out of a partly filled FIFO were always over.
std::uint8_t Serial::pending_cause() const {
    const Registers& r = registers_;
    if ((r.interrupt_enable & ier_line) != 0 && r.overrun) return iir_line;
    if ((r.interrupt_enable & ier_received) != 0 && !r.received.empty()) return iir_received;
    if ((r.interrupt_enable & ier_sender) != 0 && r.sender_empty_pending) return iir_sender;
    return iir_none;
}

// Pollers of a port without an interrupt look here whether they may send.
std::uint8_t Serial::interrupt_identity() {
    const std::uint8_t fifos = (registers_.fifo_control & fcr_enable) != 0 ? iir_fifos : std::uint8_t{0};
    const std::uint8_t cause = pending_cause();
    if (cause == iir_sender) registers_.sender_empty_pending = false;
    return fifos | cause;
}

std::uint8_t Serial::line_status() {
    const std::uint8_t data = registers_.received.empty() ? std::uint8_t{0} : lsr_data;
    const std::uint8_t overrun = std::exchange(registers_.overrun, false) ? lsr_overrun : std::uint8_t{0};
    return lsr_sender_empty | data | overrun;
}

std::uint8_t Serial::modem_status() const {
    if (!looped()) return msr_connected;
    // Looped back, the outputs DTR, RTS, OUT1, OUT2 show up as the inputs DSR, CTS, RI, DCD.
    const unsigned out = registers_.modem_control;
    return static_cast<std::uint8_t>((out & 1) << 5 | (out & 2) << 3 | (out & 4) << 4 | (out & 8) << 4);
}

// On a PC, OUT2 connects the pin to the interrupt line.
void Serial::drive_pin() {
    const bool high = pending_cause() != iir_none && (registers_.modem_control & mcr_out2) != 0 && !looped();
    if (interrupts_ == nullptr || high == pin_high_) return;
    pin_high_ = high;
    interrupts_->set_line(line_, static_cast<std::uint32_t>(line_), high ? LineLevel::high : LineLevel::low);
}

}  // namespace penumbra::vmm
