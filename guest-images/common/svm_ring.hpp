// The svm image's hold on the accelerator: ring, doorbell, and which command is in hand.
#pragma once

#include <cstdint>

#include "guest-images/common/svm_shared.hpp"

namespace penumbra::guest {

/// The feeder submits and collects; any vCPU may ask what is in hand.
template <class Platform>
class SvmRing {
public:
    explicit SvmRing(SvmShared<Platform>& shared) : shared_(shared), world_(shared.world()) {}

    /// False where the device does not come up.
    [[nodiscard]] bool enable() {
        const SvmLayout& layout = shared_.layout();
        write(abi::AccelRegister::ring_gpa, layout.ring());
        write(abi::AccelRegister::ring_entries, svm_ring_entries);
        write(abi::AccelRegister::pasid_table_gpa, layout.pasid_table());
        write(abi::AccelRegister::request_queue_gpa, layout.request_queue());
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

    /// Writes the next slot; the device sees it at ring_doorbell().
    void submit(const abi::AccelCommand& command, const SvmCommand& record) {
        const std::uint64_t number = world_.submitted;
        world_.command(number) = record;
        abi::AccelCommand& slot = this->slot(number);
        __builtin_memcpy(reinterpret_cast<std::uint8_t*>(&slot) + 8,
                         reinterpret_cast<const std::uint8_t*>(&command) + 8, sizeof(slot) - 8);
        slot.opcode = command.opcode;
        __atomic_store_n(&slot.result, static_cast<std::uint32_t>(abi::AccelResult::pending), __ATOMIC_RELEASE);
        svm_store(world_.submitted, number + 1);
    }
    void ring_doorbell() { write(abi::AccelRegister::doorbell, world_.submitted); }
    [[nodiscard]] std::uint64_t in_flight() const { return world_.submitted - world_.collected; }

    [[nodiscard]] abi::AccelResult result(std::uint64_t number) {
        return static_cast<abi::AccelResult>(__atomic_load_n(&slot(number).result, __ATOMIC_ACQUIRE));
    }
    [[nodiscard]] std::uint64_t value(std::uint64_t number) { return slot(number).value; }

    /// The oldest command without a result: the one in hand, or the next. All older ones are done, and all younger ones
    /// have not begun.
    [[nodiscard]] std::uint64_t in_hand() {
        for (;;) {
            const std::uint64_t collected = svm_load(world_.collected);
            const std::uint64_t end = svm_load(world_.submitted);
            std::uint64_t number = collected;
            while (number < end && result(number) != abi::AccelResult::pending) ++number;
            // A slot is used again only after its command was collected.
            if (svm_load(world_.collected) == collected) return number;
        }
    }

    /// Answers the newest page request.
    void answer(std::uint64_t request, bool served) {
        write(abi::AccelRegister::request_response, request * 2 + (served ? 0 : 1));
    }

private:
    [[nodiscard]] abi::AccelCommand& slot(std::uint64_t number) {
        auto* const ring = reinterpret_cast<abi::AccelCommand*>(shared_.platform().ram(shared_.layout().ring()));
        return ring[number % svm_ring_entries];
    }
    [[nodiscard]] std::uint64_t read(abi::AccelRegister at) {
        return shared_.platform().mmio_read(abi::accelerator_base + static_cast<std::uint64_t>(at));
    }
    void write(abi::AccelRegister at, std::uint64_t value) {
        shared_.platform().mmio_write(abi::accelerator_base + static_cast<std::uint64_t>(at), value);
    }

    SvmShared<Platform>& shared_;
    SvmWorld& world_;
};

}  // namespace penumbra::guest
