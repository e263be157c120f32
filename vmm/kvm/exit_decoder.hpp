// From KVM's run area to an Exit.
#pragma once

#include "vmm/kvm/exit.hpp"

struct kvm_run;

namespace penumbra::vmm {

/// After KVM_RUN returned 0. Spans in the result lie in the run area.
[[nodiscard]] Exit decode_exit(kvm_run& area);
/// After KVM_RUN failed with EFAULT.
[[nodiscard]] Exit decode_memory_fault(const kvm_run& area);

}  // namespace penumbra::vmm
