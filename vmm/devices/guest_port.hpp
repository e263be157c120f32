// The guest port: where freestanding guests print, report, take orders and end the run (registers: abi::Port).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/counters.hpp"
#include "base/mutex.hpp"
#include "guest-images/common/machine_abi.hpp"
#include "vmm/devices/device.hpp"
#include "vmm/devices/guest_memory.hpp"

namespace penumbra::vmm {

/// What a guest does at its port. Called on vCPU threads, several at once, with no lock held.
class GuestPortListener {
public:
    virtual ~GuestPortListener() = default;
    /// One line, fit for a terminal, without its line end.
    virtual void guest_printed(std::string_view line) = 0;
    /// The guest ended the run. Comes at most once, and not after guest_trapped().
    virtual void guest_exited(std::uint64_t status) = 0;
    /// An exception the guest has no answer to ended the run. Comes at most once, and not after guest_exited().
    virtual void guest_trapped(std::uint32_t cpu, std::uint64_t vector) = 0;
};

/// Orders for the touch image. Thread-safe.
class TouchSource {
public:
    struct Touch {
        Gpa page;
        abi::TouchKind kind;
    };
    virtual ~TouchSource() = default;
    /// The next page that vCPU `cpu` touches; empty once the run is over. May wait.
    [[nodiscard]] virtual std::optional<Touch> next(std::uint32_t cpu) = 0;
    /// How long the guest says its last touch took.
    virtual void touched(std::uint32_t cpu, std::uint64_t tsc_ticks) = 0;
};

/// Thread-safe; every access comes from a thread that is registered as a vCPU, whose number tells who asks. Accesses
/// other than 8 aligned bytes, unknown registers and bad blocks are refused: they read all ones, do nothing, and count.
class GuestPort : public Device {
public:
    static constexpr std::uint64_t bytes = page_bytes;

    /// All three outlive the port. No `touches`: the guest is told at once that there is nothing to touch.
    GuestPort(GuestMemory& memory, GuestPortListener& listener, TouchSource* touches)
        : memory_(memory), listener_(listener), touches_(touches) {}

    [[nodiscard]] std::uint64_t read(std::uint64_t offset, unsigned size) override;
    void write(std::uint64_t offset, unsigned size, std::uint64_t value) override;

    /// From now on finish_early reads 1. Any thread.
    void ask_to_finish_early() { finish_early_.store(true, std::memory_order_release); }
    /// The newest report, or empty before the first. Any thread.
    [[nodiscard]] std::optional<abi::Report> last_report() const;
    [[nodiscard]] std::uint64_t refused() const { return refused_.get(); }

private:
    [[nodiscard]] std::uint64_t next_touch(std::uint32_t cpu);
    void print(Gpa block);
    void take_report(Gpa block);
    [[nodiscard]] bool first_end() { return !ended_.exchange(true, std::memory_order_acq_rel); }

    GuestMemory& memory_;
    GuestPortListener& listener_;
    TouchSource* const touches_;
    std::atomic<bool> finish_early_{false};
    std::atomic<bool> ended_{false};
    std::array<std::atomic<abi::TouchKind>, abi::max_vcpus> touch_kinds_{};
    mutable Mutex mutex_{LockRank::report};
    std::optional<abi::Report> report_ GUARDED_BY(mutex_);
    Counter refused_;
};

}  // namespace penumbra::vmm
