// A vCPU's state at power-on: what KVM itself gave a new vCPU, with what firmware would have set, kept to be put back
// at every reset.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.hpp"

namespace penumbra::vmm {

/// For vCPUs with a local APIC in the kernel. Movable.
class PowerOnState {
public:
    /// `vcpu_fd` is a new vCPU with its CPUID leaves set. Sets what firmware leaves behind (memory types on, write-back
    /// by default; fast strings) and keeps everything. `msrs` as KVM lists them.
    [[nodiscard]] static Result<PowerOnState> prepare(int vcpu_fd, std::span<const std::uint32_t> msrs);

    PowerOnState(PowerOnState&&) noexcept;
    PowerOnState& operator=(PowerOnState&&) noexcept;
    ~PowerOnState();

    /// Puts it all back. The vCPU is out of the guest. From the first step on KVM no longer writes to guest memory for
    /// the vCPU by itself (clock, end of interrupt, stolen time). A fault of the kernel that was on its way for this
    /// vCPU may still come.
    [[nodiscard]] Result<> restore(int vcpu_fd) const;

private:
    struct Parts;
    explicit PowerOnState(std::unique_ptr<Parts> parts);

    std::unique_ptr<Parts> parts_;
};

}  // namespace penumbra::vmm
