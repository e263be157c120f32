// One KVM virtual machine: memory slots and vCPUs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/range.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "vmm/kvm/kvm.hpp"
#include "vmm/kvm/vcpu.hpp"

namespace penumbra::vmm {

enum class SlotAccess : std::uint8_t { read_write, read_only };
enum class SlotNumber : std::uint16_t {};

/// What KVM plays besides processors and memory.
enum class VmForm : std::uint8_t {
    bare,      ///< nothing: no interrupts; hlt comes out of run()
    platform,  ///< a PC's PICs, IOAPIC, PIT and local APICs (KernelChips); vCPUs other than 0 wait for INIT and SIPI
};

struct VmOptions {
    VmForm form = VmForm::bare;
    unsigned cpus = 1;  ///< how many vCPUs there will be
};

/// Slots may be changed from any one thread at a time. A change waits for vCPUs that sleep in a page fault: never make
/// one from a thread that such a fault waits for.
class Vm {
public:
    [[nodiscard]] static Result<Vm> create(const Kvm& kvm, VmOptions options = {});

    /// Makes the host pages from `first` the guest's `range`; replaces what the slot held. The host mapping must
    /// outlive the slot. A guest write to a read-only slot comes out of run() as an MmioExit.
    [[nodiscard]] Result<> set_memory_region(SlotNumber slot, GfnRange range, Hvp first, SlotAccess access);

    /// vCPU `index` (its APIC id), in reset state until set_long_mode() or set_protected_mode().
    [[nodiscard]] Result<std::unique_ptr<Vcpu>> create_vcpu(std::uint32_t index);

    /// Ticks per millisecond of the guests' time stamp counter.
    [[nodiscard]] Result<std::uint64_t> tsc_khz() const;

    [[nodiscard]] VmForm form() const { return options_.form; }
    /// For vmm/kvm's own parts; the VM keeps it.
    [[nodiscard]] int fd() const { return fd_.get(); }

private:
    Vm(const Kvm& kvm, VmOptions options)
        : options_(options), run_area_bytes_(kvm.run_area_bytes()), cpuid_(kvm.cpuid()), msrs_(kvm.msrs()) {}
    /// KVM_CHECK_EXTENSION's answer; 0 for what KVM does not know.
    [[nodiscard]] int check(int capability) const;
    [[nodiscard]] Result<> become_platform();
    [[nodiscard]] CpuidLeaves cpuid_of(std::uint32_t index) const;

    VmOptions options_;
    std::size_t run_area_bytes_;
    CpuidLeaves cpuid_;
    std::vector<std::uint32_t> msrs_;
    UniqueFd fd_;
};

}  // namespace penumbra::vmm
