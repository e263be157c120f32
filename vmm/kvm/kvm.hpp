// The host's /dev/kvm.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "vmm/kvm/cpuid.hpp"

namespace penumbra::vmm {

/// Immutable once open; safe to share between threads.
class Kvm {
public:
    /// Fails when the device is missing or not ours to open, speaks another API version, or lacks something every VM
    /// here needs (memory slots, immediate exit, MMU notifiers). The error names cause and cure.
    [[nodiscard]] static Result<Kvm> open(const std::string& path = "/dev/kvm");

    /// The descriptor of a new, empty VM.
    [[nodiscard]] Result<UniqueFd> create_vm() const;
    /// Size of the area that each vCPU shares with KVM.
    [[nodiscard]] std::size_t run_area_bytes() const { return run_area_bytes_; }
    /// The CPUID leaves this host can give a guest.
    [[nodiscard]] const CpuidLeaves& cpuid() const { return cpuid_; }
    /// The model-specific registers that make up a vCPU's state here.
    [[nodiscard]] const std::vector<std::uint32_t>& msrs() const { return msrs_; }

private:
    Kvm() = default;

    UniqueFd fd_;
    std::size_t run_area_bytes_ = 0;
    CpuidLeaves cpuid_;
    std::vector<std::uint32_t> msrs_;
};

}  // namespace penumbra::vmm
