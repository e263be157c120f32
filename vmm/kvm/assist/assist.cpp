#include "vmm/kvm/assist/assist.hpp"

#include "vmm/kvm/assist/execute.hpp"
#include "vmm/kvm/assist/linear_memory.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::uint64_t efer_long_mode_active = 1 << 10;

bool is_kernel_in_long_mode(const SystemRegisters& system) {
    return (system.efer & efer_long_mode_active) != 0 && system.cs.long_mode && (system.cs.selector & 3) == 0;
}

/// KVM does not always hand the bytes over.
std::optional<Instruction> read_instruction(const CpuImage& cpu, const InternalErrorExit& exit, GuestMemory& memory) {
    if (exit.instruction_bytes > 0) return decode(std::span(exit.instruction).first(exit.instruction_bytes));
    std::array<std::byte, 15> bytes{};
    LinearMemory linear(memory, cpu.system, cpu.general.rflags);
    // An instruction may end right before a page that is not there.
    for (const std::size_t length : {bytes.size(), page_bytes - cpu.general.rip % page_bytes}) {
        const auto some = std::span(bytes).first(std::min(length, bytes.size()));
        if (linear.read(Gva{cpu.general.rip}, some)) return decode(some);
    }
    return std::nullopt;
}

}  // namespace

Result<AssistOutcome> InstructionAssist::finish(Vcpu& vcpu, const InternalErrorExit& exit) {
    CpuImage cpu;
    PENUMBRA_TRY_ASSIGN(cpu.system, vcpu.system_registers());
    if (!is_kernel_in_long_mode(cpu.system)) return AssistOutcome::not_ours;
    PENUMBRA_TRY_ASSIGN(cpu.general, vcpu.registers());
    const std::optional<Instruction> instruction = read_instruction(cpu, exit, memory_);
    if (!instruction) return AssistOutcome::not_ours;
    PENUMBRA_TRY_ASSIGN(cpu.floating, vcpu.float_registers());

    const CpuImage before = cpu;
    const ExecuteOutcome outcome = execute(*instruction, cpu, memory_);
    if (std::holds_alternative<CannotFinish>(outcome)) return AssistOutcome::not_ours;
    if (cpu.floating != before.floating) PENUMBRA_TRY(vcpu.set_float_registers(cpu.floating));
    if (cpu.system != before.system) PENUMBRA_TRY(vcpu.set_system_registers(cpu.system));
    if (cpu.general != before.general) PENUMBRA_TRY(vcpu.set_registers(cpu.general));
    if (const auto* exception = std::get_if<GuestException>(&outcome)) PENUMBRA_TRY(vcpu.inject(*exception));
    finished_[static_cast<std::size_t>(instruction->operation)].add();
    return AssistOutcome::finished;
}

std::vector<std::pair<std::string, std::uint64_t>> InstructionAssist::figures() const {
    std::vector<std::pair<std::string, std::uint64_t>> all;
    for (std::size_t i = 0; i < finished_.size(); ++i) {
        if (const std::uint64_t times = finished_[i].get(); times > 0) {
            all.emplace_back(name_of(static_cast<Operation>(i)), times);
        }
    }
    return all;
}

}  // namespace penumbra::vmm
