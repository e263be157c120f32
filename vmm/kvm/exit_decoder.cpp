#include "vmm/kvm/exit_decoder.hpp"

#include <linux/kvm.h>

#include <algorithm>
#include <cstring>

#include "base/assert.hpp"

namespace penumbra::vmm {

namespace {

// Newer than the oldest kernel headers this builds with: Linux 6.8's KVM_EXIT_MEMORY_FAULT {flags, gpa, size}.
constexpr std::uint32_t exit_memory_fault = 39;
struct MemoryFault {
    std::uint64_t flags, gpa, size;
};

Exit decode_mmio(kvm_run& area) {
    PENUMBRA_ASSERT(area.mmio.len >= 1 && area.mmio.len <= sizeof(area.mmio.data),
                    "KVM gave an impossible MMIO length");
    const std::span<std::uint8_t> data(area.mmio.data, area.mmio.len);
    return MmioExit{Gpa{area.mmio.phys_addr}, area.mmio.is_write != 0 ? Access::write : Access::read,
                    std::as_writable_bytes(data)};
}

Exit decode_port(kvm_run& area) {
    auto* data = reinterpret_cast<std::byte*>(&area) + area.io.data_offset;
    return PortExit{area.io.port, area.io.size, area.io.count,
                    area.io.direction == KVM_EXIT_IO_OUT ? Access::write : Access::read,
                    std::span(data, std::size_t{area.io.size} * area.io.count)};
}

Exit decode_internal_error(const kvm_run& area) {
    InternalErrorExit exit{area.internal.suberror, {}, 0};
    const auto& failure = area.emulation_failure;
    const bool has_bytes = failure.suberror == KVM_INTERNAL_ERROR_EMULATION && failure.ndata >= 3 &&
                           (failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) != 0;
    if (has_bytes) {
        exit.instruction_bytes = std::min<std::uint8_t>(failure.insn_size, sizeof(failure.insn_bytes));
        std::memcpy(exit.instruction.data(), failure.insn_bytes, exit.instruction_bytes);
    }
    return exit;
}

}  // namespace

Exit decode_exit(kvm_run& area) {
    switch (area.exit_reason) {
        case KVM_EXIT_MMIO:
            return decode_mmio(area);
        case KVM_EXIT_IO:
            return decode_port(area);
        case KVM_EXIT_HLT:
            return HaltExit{};
        case KVM_EXIT_SHUTDOWN:
            return ShutdownExit{};
        case KVM_EXIT_INTR:
            return InterruptedExit{};
        case KVM_EXIT_INTERNAL_ERROR:
            return decode_internal_error(area);
        case KVM_EXIT_FAIL_ENTRY:
            return UnexpectedExit{area.exit_reason, area.fail_entry.hardware_entry_failure_reason};
        case KVM_EXIT_UNKNOWN:
            return UnexpectedExit{area.exit_reason, area.hw.hardware_exit_reason};
        default:
            return UnexpectedExit{area.exit_reason, 0};
    }
}

Exit decode_memory_fault(const kvm_run& area) {
    if (area.exit_reason != exit_memory_fault) return MemoryFaultExit{};
    MemoryFault fault{};
    std::memcpy(&fault, area.padding, sizeof(fault));
    return MemoryFaultExit{Gpa{fault.gpa}};
}

}  // namespace penumbra::vmm
