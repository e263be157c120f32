// Finishes what KVM cannot interpret. Without hardware virtualization KVM interprets the guest's ring 0, and knows only
// part of the instruction set; on other hosts this never runs.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/counters.hpp"
#include "base/result.hpp"
#include "vmm/devices/guest_memory.hpp"
#include "vmm/kvm/assist/instruction.hpp"
#include "vmm/kvm/exit.hpp"
#include "vmm/kvm/vcpu.hpp"

namespace penumbra::vmm {

enum class AssistOutcome : std::uint8_t {
    finished,  ///< the vCPU may go on
    not_ours,  ///< the vCPU is as it was; nobody here knows the instruction, or its memory cannot be reached
};

/// One per machine. Any vCPU thread, each for its own vCPU, holding no lock.
class InstructionAssist {
public:
    explicit InstructionAssist(GuestMemory& memory) : memory_(memory) {}

    /// After Attachment::run() gave `exit`, with suberror `emulation`. An error is KVM's.
    [[nodiscard]] Result<AssistOutcome> finish(Vcpu& vcpu, const InternalErrorExit& exit);

    /// Instructions finished, by name; those that never came up are left out.
    [[nodiscard]] std::vector<std::pair<std::string, std::uint64_t>> figures() const;

private:
    GuestMemory& memory_;
    std::array<Counter, static_cast<std::size_t>(Operation::count)> finished_;
};

}  // namespace penumbra::vmm
