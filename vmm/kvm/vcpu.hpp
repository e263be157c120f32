// One vCPU: its state, its run loop's one step, and how another thread gets it out of the guest.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/mapped_region.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "vmm/boot/boot_entry.hpp"
#include "vmm/kvm/cpu_state.hpp"
#include "vmm/kvm/exit.hpp"
#include "vmm/kvm/power_on.hpp"

struct kvm_run;

namespace penumbra::vmm {

/// One thread at a time runs a vCPU and reads or writes its state: the thread that holds its Attachment, or, while that
/// one is known to stay out of run(), another. request_exit() is for any thread.
class Vcpu {
public:
    /// The calling thread's right to run a vCPU. Destroyed on the same thread.
    class Attachment {
    public:
        ~Attachment();
        Attachment(Attachment&& other) noexcept : vcpu_(std::exchange(other.vcpu_, nullptr)) {}
        Attachment& operator=(Attachment&&) = delete;

        /// Enters the guest until something needs the VMM. A thread that is in the ThreadRegister counts as in the
        /// guest meanwhile, and after an InterruptedExit until it has run again: the guest's own fault may be read
        /// then. Fails only when KVM itself refuses; everything a guest can cause is an Exit.
        [[nodiscard]] Result<Exit> run();
        /// Lets KVM finish the instruction whose MmioExit or PortExit was answered last, and goes no further:
        /// InterruptedExit when that is done, or never was to do. Another MmioExit or PortExit of the same instruction
        /// is to be answered first. Only then are the vCPU's registers those of a moment between two instructions.
        [[nodiscard]] Result<Exit> finish_access();

    private:
        friend class Vcpu;
        explicit Attachment(Vcpu& vcpu) : vcpu_(&vcpu) {}

        Vcpu* vcpu_;
    };

    /// `fd` is a new vCPU's descriptor. Called by Vm.
    [[nodiscard]] static Result<std::unique_ptr<Vcpu>> create(UniqueFd fd, std::size_t run_area_bytes,
                                                              std::optional<PowerOnState> power_on);
    Vcpu(const Vcpu&) = delete;
    Vcpu& operator=(const Vcpu&) = delete;
    ~Vcpu() = default;

    /// Blocks the kick signal on the calling thread and makes KVM take it inside the guest only.
    [[nodiscard]] Result<Attachment> attach();

    /// Long mode, CPL 0, as LongModeEntry says; every register it does not name is 0.
    [[nodiscard]] Result<> set_long_mode(const LongModeEntry& entry);
    /// 32-bit protected mode as ProtectedModeEntry says.
    [[nodiscard]] Result<> set_protected_mode(const ProtectedModeEntry& entry);
    /// As it was when created: every register, the local APIC, what was pending; vCPUs other than 0 wait for INIT and
    /// SIPI. For VmForm::platform.
    [[nodiscard]] Result<> power_on();

    [[nodiscard]] Result<Registers> registers() const;
    [[nodiscard]] Result<> set_registers(const Registers& registers);
    [[nodiscard]] Result<SystemRegisters> system_registers() const;
    /// Segment registers that the guest loads later come from its descriptor tables as ever.
    [[nodiscard]] Result<> set_system_registers(const SystemRegisters& registers);
    [[nodiscard]] Result<FloatRegisters> float_registers() const;
    [[nodiscard]] Result<> set_float_registers(const FloatRegisters& registers);
    /// XCR0; 0 where there is no XSAVE.
    [[nodiscard]] Result<std::uint64_t> extended_features() const;
    [[nodiscard]] Result<> set_extended_features(std::uint64_t xcr0);
    /// All of the extended state, in the standard format of XSAVE (SDM volume 1, 13.4): at most 4096 bytes.
    [[nodiscard]] Result<std::vector<std::byte>> extended_state() const;
    [[nodiscard]] Result<> set_extended_state(std::span<const std::byte> state);
    /// The guest takes the exception when it is entered next; registers as they are now are what its handler sees.
    /// What was being delivered at that moment, if anything, is replaced.
    [[nodiscard]] Result<> inject(const GuestException& exception);
    /// Tells a guest that uses KVM's clock that it stood still, lest its watchdogs bark.
    void tell_it_stood_still();

    /// Makes the run() in progress, or else the next one, return InterruptedExit, soon. Never blocks; safe at any
    /// moment in the vCPU's life. Write down why before calling; the vCPU's thread looks after clear_exit_request().
    /// One request may interrupt twice, so an InterruptedExit with no reason is normal.
    void request_exit();
    /// Forgets requests made so far. Only on the attached thread, outside run(). Requests made during the call stay.
    void clear_exit_request();

private:
    Vcpu(UniqueFd fd, MappedRegion run_area, std::optional<PowerOnState> power_on)
        : fd_(std::move(fd)), run_area_(std::move(run_area)), power_on_(std::move(power_on)) {}

    [[nodiscard]] kvm_run& area() const;
    [[nodiscard]] std::atomic_ref<std::uint8_t> immediate_exit() const;

    UniqueFd fd_;
    MappedRegion run_area_;
    std::optional<PowerOnState> power_on_;
    std::atomic<pid_t> attached_tid_{0};  // whom to signal; 0: nobody runs this vCPU
};

}  // namespace penumbra::vmm
