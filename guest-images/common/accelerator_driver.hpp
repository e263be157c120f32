// The guest's side of the accelerator's ring: slots, doorbell, results in order. One owner, one page of ring.
#pragma once

#include <cstdint>

#include "guest-images/common/machine_abi.hpp"

namespace penumbra::guest {

/// `Platform` is that of churn_core.hpp.
template <class Platform>
class AcceleratorDriver {
public:
    static constexpr std::uint64_t ring_entries = 4096 / sizeof(abi::AccelCommand);

    AcceleratorDriver(Platform& platform, std::uint64_t ring_gpa) : platform_(platform), ring_gpa_(ring_gpa) {}

    /// False where the device does not come up.
    [[nodiscard]] bool enable() {
        write(abi::AccelRegister::ring_gpa, ring_gpa_);
        write(abi::AccelRegister::ring_entries, ring_entries);
        write(abi::AccelRegister::control, 1);
        return healthy();
    }
    void disable() { write(abi::AccelRegister::control, 0); }

    /// Costs an exit: enabled, and no ring error.
    [[nodiscard]] bool healthy() {
        constexpr auto enabled = static_cast<std::uint64_t>(abi::AccelStatus::enabled);
        constexpr auto ring_error = static_cast<std::uint64_t>(abi::AccelStatus::ring_error);
        return (read(abi::AccelRegister::status) & (enabled | ring_error)) == enabled;
    }
    /// Costs an exit: how many commands the device says are done.
    [[nodiscard]] std::uint64_t head() { return read(abi::AccelRegister::head); }

    /// Writes the next slot. At most ring_entries may be in flight; the device sees it at ring_doorbell().
    void submit(abi::AccelOpcode opcode, std::uint64_t source, std::uint64_t target, std::uint64_t bytes) {
        abi::AccelCommand& command = slot(submitted_);
        command.opcode = static_cast<std::uint32_t>(opcode);
        command.source = source;
        command.target = target;
        command.bytes = bytes;
        command.value = 0;
        command.flags = 0;
        command.pasid = 0;
        __atomic_store_n(&command.result, static_cast<std::uint32_t>(abi::AccelResult::pending), __ATOMIC_RELEASE);
        ++submitted_;
    }
    void ring_doorbell() { write(abi::AccelRegister::doorbell, submitted_); }

    [[nodiscard]] std::uint64_t submitted() const { return submitted_; }
    [[nodiscard]] std::uint64_t collected() const { return collected_; }
    [[nodiscard]] std::uint64_t in_flight() const { return submitted_ - collected_; }

    /// About the oldest command in flight; no exit.
    [[nodiscard]] abi::AccelResult result() {
        return static_cast<abi::AccelResult>(__atomic_load_n(&slot(collected_).result, __ATOMIC_ACQUIRE));
    }
    [[nodiscard]] std::uint64_t value() { return slot(collected_).value; }
    void pop() { ++collected_; }

private:
    abi::AccelCommand& slot(std::uint64_t count) {
        return reinterpret_cast<abi::AccelCommand*>(platform_.ram(ring_gpa_))[count % ring_entries];
    }
    std::uint64_t read(abi::AccelRegister at) {
        return platform_.mmio_read(abi::accelerator_base + static_cast<std::uint64_t>(at));
    }
    void write(abi::AccelRegister at, std::uint64_t value) {
        platform_.mmio_write(abi::accelerator_base + static_cast<std::uint64_t>(at), value);
    }

    Platform& platform_;
    std::uint64_t ring_gpa_;
    std::uint64_t submitted_ = 0;
    std::uint64_t collected_ = 0;
};

}  // namespace penumbra::guest
