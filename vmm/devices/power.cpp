#include "vmm/devices/power.hpp"

#include <utility>

#include "vmm/boot/platform_map.hpp"

namespace penumbra::vmm {

namespace {

// Offsets from platform::pm1a_event_port. Between control and timer there is nothing.
constexpr std::uint64_t status_at = 0, enable_at = 2;
constexpr std::uint64_t control_at = platform::pm1a_control_port - platform::pm1a_event_port;
constexpr std::uint64_t timer_at = platform::pm_timer_port - platform::pm1a_event_port;
static_assert(timer_at + platform::pm_timer_bytes == PowerManagement::ports);
static_assert((platform::reset_value & 4) != 0);

// ACPI 6.5, tables 4.13 to 4.16.
constexpr std::uint16_t global_lock = 1U << 5, power_button = 1U << 8;
constexpr std::uint16_t status_kept = global_lock | power_button, enable_kept = global_lock | power_button;
constexpr std::uint16_t sci_enabled = 1U << 0, sleep_enable = 1U << 13;
constexpr unsigned sleep_type_shift = 10, sleep_type_mask = 7;

constexpr std::uint8_t reset_cpu = 1U << 2;  // of the reset control register

constexpr std::uint8_t byte_of(std::uint64_t value, std::uint64_t index) {
    return static_cast<std::uint8_t>(value >> (8 * index));
}
constexpr void set_byte(std::uint16_t& word, std::uint64_t index, std::uint8_t value) {
    const auto shift = static_cast<unsigned>(8 * index);
    word = static_cast<std::uint16_t>((word & ~(0xFFU << shift)) | unsigned{value} << shift);
}

}  // namespace

PowerManagement::PowerManagement(PowerListener& listener, Interrupts& interrupts, Clock clock)
    : listener_(listener), interrupts_(interrupts), clock_(std::move(clock)) {}

std::uint32_t PowerManagement::timer() const {
    const auto ns = static_cast<std::uint64_t>(clock_().count());
    constexpr std::uint64_t second = 1'000'000'000;
    return static_cast<std::uint32_t>(ns / second * platform::pm_timer_hertz +
                                      ns % second * platform::pm_timer_hertz / second);
}

std::uint8_t PowerManagement::read_byte(std::uint64_t offset) const {
    if (offset < enable_at) return byte_of(status_, offset - status_at);
    if (offset < enable_at + 2) return byte_of(enable_, offset - enable_at);
    if (offset >= control_at && offset < control_at + 2) return byte_of(control_ | sci_enabled, offset - control_at);
    return 0;
}

std::uint64_t PowerManagement::read(std::uint64_t offset, unsigned bytes) {
    const std::uint32_t now = timer();  // once: a byte by byte reading of a moving counter would tear
    const MutexLock lock(mutex_);
    std::uint64_t value = 0;
    for (unsigned i = 0; i < bytes; ++i) {
        const std::uint64_t at = offset + i;
        const std::uint8_t byte = at >= timer_at ? byte_of(now, at - timer_at) : read_byte(at);
        value |= std::uint64_t{byte} << (8 * i);
    }
    return value;
}

void PowerManagement::write_byte(std::uint64_t offset, std::uint8_t value) {
    if (offset < enable_at) {
        const auto cleared = static_cast<std::uint16_t>(std::uint16_t{value} << (8 * offset));
        status_ = static_cast<std::uint16_t>(status_ & ~cleared);  // written with ones
    } else if (offset < enable_at + 2) {
        set_byte(enable_, offset - enable_at, value);
        enable_ &= enable_kept;
    } else if (offset >= control_at && offset < control_at + 2) {
        set_byte(control_, offset - control_at, value);
    }
}

void PowerManagement::write(std::uint64_t offset, unsigned bytes, std::uint64_t value) {
    bool off = false;
    {
        const MutexLock lock(mutex_);
        for (unsigned i = 0; i < bytes; ++i) write_byte(offset + i, byte_of(value, i));
        const unsigned type = control_ >> sleep_type_shift & sleep_type_mask;
        // The enable bit is never seen set: it is a command. Other sleeping states are not offered.
        off = (control_ & sleep_enable) != 0 && type == platform::sleep_type_off;
        control_ = static_cast<std::uint16_t>(control_ & ~sleep_enable);
        drive_line();
    }
    if (off) listener_.guest_powered_off();
}

void PowerManagement::press_power_button() {
    const MutexLock lock(mutex_);
    status_ |= power_button;
    drive_line();
}

void PowerManagement::reset() {
    const MutexLock lock(mutex_);
    status_ = enable_ = control_ = 0;
    drive_line();
}

void PowerManagement::drive_line() {
    const bool high = (status_ & enable_ & status_kept) != 0;
    if (high == line_high_) return;
    line_high_ = high;
    interrupts_.set_line(Gsi{platform::sci_gsi}, platform::sci_gsi, high ? LineLevel::high : LineLevel::low);
}

void write_reset_control(std::uint8_t value, PowerListener& listener) {
    if ((value & reset_cpu) != 0) listener.guest_wants_reset();
}

std::uint64_t KeyboardReset::read(std::uint64_t, unsigned bytes) { return bytes == 1 ? 0 : all_ones; }

void KeyboardReset::write(std::uint64_t, unsigned bytes, std::uint64_t value) {
    if (bytes == 1 && (value & 0xFF) == platform::keyboard_reset_value) listener_.guest_wants_reset();
}

}  // namespace penumbra::vmm
