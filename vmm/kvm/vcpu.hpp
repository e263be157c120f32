// One vCPU: its state, its run loop's one step, and how another thread gets it out of the guest.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "base/mapped_region.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "vmm/kvm/cpu_state.hpp"
#include "vmm/kvm/exit.hpp"

struct kvm_run;

namespace penumbra::vmm {

/// One thread at a time runs a vCPU and reads or writes its state: the thread that holds its Attachment. request_exit()
/// is for any thread.
class Vcpu {
public:
    /// The calling thread's right to run a vCPU. Destroyed on the same thread.
    class Attachment {
    public:
        ~Attachment();
        Attachment(Attachment&& other) noexcept : vcpu_(std::exchange(other.vcpu_, nullptr)) {}
        Attachment& operator=(Attachment&&) = delete;

        /// Enters the guest until something needs the VMM. A thread that is in the ThreadRegister counts as in the
        /// guest meanwhile. Fails only when KVM itself refuses; everything a guest can cause is an Exit.
        [[nodiscard]] Result<Exit> run();

    private:
        friend class Vcpu;
        explicit Attachment(Vcpu& vcpu) : vcpu_(&vcpu) {}

        Vcpu* vcpu_;
    };

    /// `fd` is a new vCPU's descriptor. Called by Vm.
    [[nodiscard]] static Result<std::unique_ptr<Vcpu>> create(UniqueFd fd, std::size_t run_area_bytes);
    Vcpu(const Vcpu&) = delete;
    Vcpu& operator=(const Vcpu&) = delete;
    ~Vcpu() = default;

    /// Blocks the kick signal on the calling thread and makes KVM take it inside the guest only.
    [[nodiscard]] Result<Attachment> attach();

    /// Long mode, CPL 0, as LongModeEntry says; every register it does not name is 0.
    [[nodiscard]] Result<> set_long_mode(const LongModeEntry& entry);
    [[nodiscard]] Result<Registers> registers() const;
    [[nodiscard]] Result<> set_registers(const Registers& registers);

    /// Makes the run() in progress, or else the next one, return InterruptedExit, soon. Never blocks; safe at any
    /// moment in the vCPU's life. Write down why before calling; the vCPU's thread looks after clear_exit_request().
    /// One request may interrupt twice, so an InterruptedExit with no reason is normal.
    void request_exit();
    /// Forgets requests made so far. Only on the attached thread, outside run(). Requests made during the call stay.
    void clear_exit_request();

private:
    Vcpu(UniqueFd fd, MappedRegion run_area) : fd_(std::move(fd)), run_area_(std::move(run_area)) {}

    [[nodiscard]] kvm_run& area() const;
    [[nodiscard]] std::atomic_ref<std::uint8_t> immediate_exit() const;

    UniqueFd fd_;
    MappedRegion run_area_;
    std::atomic<pid_t> attached_tid_{0};  // whom to signal; 0: nobody runs this vCPU
};

}  // namespace penumbra::vmm
