// The processor states in which a guest can be entered.
#pragma once

#include <cstdint>
#include <variant>

#include "base/address.hpp"
#include "vmm/kvm/cpu_state.hpp"

namespace penumbra::vmm {

/// 32-bit protected mode without paging, as the PVH entry wants it (Xen, docs/misc/pvh.pandoc, "Start Day"): CR0 has PE
/// only (and what the processor fixes), CR4 is 0, CS a flat 4 GiB execute/read segment of 32 bits, DS, ES and SS flat
/// read/write ones, TR a 32-bit TSS of base 0 and limit 0x67, EFLAGS.IF, TF and VM clear. Registers not named are 0.
struct ProtectedModeEntry {
    Gpa instruction;        ///< EIP; below 4 GiB
    std::uint32_t ebx = 0;  ///< PVH: guest-physical address of hvm_start_info
};

using BootEntry = std::variant<LongModeEntry, ProtectedModeEntry>;

}  // namespace penumbra::vmm
