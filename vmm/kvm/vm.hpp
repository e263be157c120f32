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

/// Slots may be changed from any one thread at a time. A change waits for vCPUs that sleep in a page fault: never make
/// one from a thread that such a fault waits for.
class Vm {
public:
    [[nodiscard]] static Result<Vm> create(const Kvm& kvm);

    /// Makes the host pages from `first` the guest's `range`; replaces what the slot held. The host mapping must
    /// outlive the slot. A guest write to a read-only slot comes out of run() as an MmioExit.
    [[nodiscard]] Result<> set_memory_region(SlotNumber slot, GfnRange range, Hvp first, SlotAccess access);

    /// vCPU `index` (its APIC id), in reset state until set_long_mode().
    [[nodiscard]] Result<std::unique_ptr<Vcpu>> create_vcpu(std::uint32_t index);

    /// Ticks per millisecond of the guests' time stamp counter.
    [[nodiscard]] Result<std::uint64_t> tsc_khz() const;

private:
    Vm() = default;

    UniqueFd fd_;
    std::size_t run_area_bytes_ = 0;
    std::vector<std::byte> cpuid_;
};

}  // namespace penumbra::vmm
