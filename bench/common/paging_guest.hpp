// A KVM guest that touches whole lists of pages (guest image "touch_list"), in ring 3.
#pragma once

#include "base/range.hpp"
#include "bench/common/paging_memory.hpp"
#include "guest-images/common/machine_abi.hpp"
#include "vmm/devices/guest_port.hpp"

namespace penumbra::bench {

/// Where the guest finds its list: memory beside its RAM.
inline constexpr Gpa guest_list{abi::payload_base};

/// Boots a VM over `memory` and runs it until `lists` has no more; `list` is the host's view of guest_list. Each answer
/// of `lists` names guest_list. On a thread registered as vCPU 0.
[[nodiscard]] Result<> run_paging_guest(PagingMemory& memory, HvpRange list, vmm::TouchSource& lists);

}  // namespace penumbra::bench
