// What our instructions do to a processor's state (SDM volume 2, one page each).
#pragma once

#include <optional>
#include <variant>

#include "vmm/devices/guest_memory.hpp"
#include "vmm/kvm/assist/instruction.hpp"
#include "vmm/kvm/cpu_state.hpp"

namespace penumbra::vmm {

/// A vCPU's state while an instruction is finished on it.
struct CpuImage {
    Registers general;
    SystemRegisters system;
    FloatRegisters floating;

    friend bool operator==(const CpuImage&, const CpuImage&) = default;
};

struct Executed {};      ///< the image is as after the instruction
struct CannotFinish {};  ///< the image is unchanged; the machine has to say so
/// Executed | the exception that the guest takes, the image being as its handler is to find it | CannotFinish
using ExecuteOutcome = std::variant<Executed, GuestException, CannotFinish>;

/// In 64-bit code at CPL 0, with RIP at the instruction. Reads and writes guest memory: no lock may be held.
[[nodiscard]] ExecuteOutcome execute(const Instruction& instruction, CpuImage& cpu, GuestMemory& memory);

}  // namespace penumbra::vmm
