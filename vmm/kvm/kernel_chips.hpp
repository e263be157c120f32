// The PC's interrupt hardware, as KVM plays it in the kernel: PICs, IOAPIC, interval timer, and the messages and
// doorbells that go past them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/counters.hpp"
#include "base/mutex.hpp"
#include "vmm/devices/interrupts.hpp"
#include "vmm/kvm/vm.hpp"

namespace penumbra::vmm {

/// Thread-safe; the VM outlives it.
class KernelChips final : public Interrupts, public Doorbells {
public:
    static constexpr std::uint32_t lines = 24;

    /// For a new VM of VmForm::platform: keeps the chips' power-on state.
    [[nodiscard]] static Result<std::unique_ptr<KernelChips>> create(const Vm& vm);
    ~KernelChips() override;

    void signal(const MsiMessage& message) override;
    /// Asserts that the line exists.
    void set_line(Gsi line, std::uint32_t source, LineLevel level) override EXCLUDES(mutex_);
    [[nodiscard]] Result<> bind(Gpa at, unsigned bytes, int eventfd) override;
    void unbind(Gpa at, unsigned bytes, int eventfd) override;

    /// Every chip as at power-on, every line low whoever holds it, the guests' clock at zero. All vCPUs are out of the
    /// guest.
    [[nodiscard]] Result<> reset() EXCLUDES(mutex_);

    /// Messages that KVM refused or that reached no vCPU.
    [[nodiscard]] std::uint64_t lost_messages() const { return lost_messages_.get(); }

private:
    struct PowerOn;
    KernelChips(int vm_fd, std::unique_ptr<PowerOn> power_on);
    void drive(std::uint32_t line, LineLevel level) REQUIRES(mutex_);

    const int vm_fd_;
    std::unique_ptr<PowerOn> power_on_;
    Counter lost_messages_;
    Mutex mutex_{LockRank::leaf};  // also orders what the kernel is told of one line
    std::array<std::vector<std::uint32_t>, lines> holders_ GUARDED_BY(mutex_);
};

}  // namespace penumbra::vmm
