#include "vmm/kvm/assist/execute.hpp"

#include <sys/random.h>

#include <array>
#include <bit>

#include "base/assert.hpp"
#include "vmm/kvm/assist/linear_memory.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::uint64_t flag_cf = 1, flag_pf = 1 << 2, flag_af = 1 << 4, flag_zf = 1 << 6, flag_sf = 1 << 7,
                        flag_of = 1 << 11, flag_rf = 1 << 16, flag_ac = 1 << 18;
constexpr std::uint64_t result_flags = flag_cf | flag_pf | flag_af | flag_zf | flag_sf | flag_of;
constexpr std::uint64_t cr0_monitor = 1 << 1, cr0_emulation = 1 << 2, cr0_task_switched = 1 << 3;
constexpr std::uint64_t cr4_osfxsr = 1 << 9, cr4_fsgsbase = 1 << 16;
constexpr std::uint16_t x87_exception_pending = 1 << 7;  // ES of the status word
constexpr std::uint32_t mxcsr_defined = 0xFFFF;

std::uint64_t& general(Registers& r, std::uint8_t number) {
    const std::array<std::uint64_t*, 16> all{&r.rax, &r.rcx, &r.rdx, &r.rbx, &r.rsp, &r.rbp, &r.rsi, &r.rdi,
                                             &r.r8,  &r.r9,  &r.r10, &r.r11, &r.r12, &r.r13, &r.r14, &r.r15};
    PENUMBRA_ASSERT(number < all.size(), "no such register");
    return *all[number];
}

/// Sixteen-bit results leave the rest of the register, 32-bit ones clear its upper half (SDM volume 1, 3.4.1.1).
void set_general(Registers& r, std::uint8_t number, std::uint64_t value, unsigned bytes) {
    std::uint64_t& target = general(r, number);
    if (bytes == 2) {
        target = (target & ~std::uint64_t{0xFFFF}) | (value & 0xFFFF);
    } else {
        target = bytes == 4 ? value & 0xFFFF'FFFF : value;
    }
}

Gva address_of(const MemoryOperand& operand, const Instruction& instruction, CpuImage& cpu) {
    auto sum = static_cast<std::uint64_t>(operand.displacement);
    if (operand.base == MemoryOperand::Base::general) sum += general(cpu.general, operand.base_register);
    if (operand.base == MemoryOperand::Base::instruction_end) sum += cpu.general.rip + instruction.length;
    if (operand.index_register) sum += general(cpu.general, *operand.index_register) * operand.scale;
    if (operand.short_address) sum &= 0xFFFF'FFFF;
    if (operand.segment == MemoryOperand::Override::fs) sum += cpu.system.fs.base;
    if (operand.segment == MemoryOperand::Override::gs) sum += cpu.system.gs.base;
    return Gva{sum};
}

bool is_canonical(std::uint64_t address, std::uint64_t cr4) {
    const unsigned unused = (cr4 & (1 << 12)) != 0 ? 64 - 57 : 64 - 48;
    return static_cast<std::uint64_t>(static_cast<std::int64_t>(address << unused) >> unused) == address;
}

class Execution {
public:
    Execution(const Instruction& instruction, CpuImage& cpu, GuestMemory& memory)
        : instruction_(instruction), cpu_(cpu), linear_(memory, cpu.system, cpu.general.rflags) {}

    ExecuteOutcome run() {
        switch (instruction_.operation) {
            case Operation::int3:
                next();
                return GuestException{GuestException::breakpoint, std::nullopt};
            case Operation::clac:
                cpu_.general.rflags &= ~flag_ac;
                return done();
            case Operation::stac:
                cpu_.general.rflags |= flag_ac;
                return done();
            case Operation::fence:
            case Operation::write_back:
                return done();
            case Operation::fwait:
                return wait();
            case Operation::ldmxcsr:
            case Operation::stmxcsr:
                return mxcsr();
            case Operation::popcnt:
            case Operation::lzcnt:
            case Operation::tzcnt:
                return count_bits();
            case Operation::rdfsbase:
            case Operation::rdgsbase:
            case Operation::wrfsbase:
            case Operation::wrgsbase:
                return segment_base();
            case Operation::rdrand:
            case Operation::rdseed:
                return random();
            case Operation::count:
                break;
        }
        assertion_failed("operation", __FILE__, __LINE__, "an instruction without a meaning");
    }

private:
    static ExecuteOutcome raise(std::uint8_t vector, std::optional<std::uint32_t> code = std::nullopt) {
        return GuestException{vector, code};
    }
    ExecuteOutcome raise(const LinearFault& fault) {
        if (fault.kind == LinearFault::Kind::host) return CannotFinish{};
        cpu_.system.cr2 = fault.address.value();
        return raise(GuestException::page, fault.code);
    }
    void next() {
        cpu_.general.rip += instruction_.length;
        cpu_.general.rflags &= ~flag_rf;
    }
    ExecuteOutcome done() {
        next();
        return Executed{};
    }

    ExecuteOutcome wait() {
        const std::uint64_t both = cr0_monitor | cr0_task_switched;
        if ((cpu_.system.cr0 & both) == both) return raise(GuestException::no_device);
        if ((cpu_.floating.status & x87_exception_pending) != 0) return raise(GuestException::x87);
        return done();
    }

    ExecuteOutcome mxcsr() {
        if ((cpu_.system.cr0 & cr0_emulation) != 0 || (cpu_.system.cr4 & cr4_osfxsr) == 0) {
            return raise(GuestException::undefined);
        }
        if ((cpu_.system.cr0 & cr0_task_switched) != 0) return raise(GuestException::no_device);
        const Gva at = address_of(*instruction_.memory, instruction_, cpu_);
        if (!is_canonical(at.value(), cpu_.system.cr4)) return raise(GuestException::protection, 0);
        if (instruction_.operation == Operation::stmxcsr) {
            const auto stored = linear_.write(at, std::as_bytes(std::span{&cpu_.floating.mxcsr, 1}));
            return stored ? done() : raise(stored.error());
        }
        std::uint32_t value = 0;
        const auto loaded = linear_.read(at, std::as_writable_bytes(std::span{&value, 1}));
        if (!loaded) return raise(loaded.error());
        if ((value & ~mxcsr_defined) != 0) return raise(GuestException::protection, 0);
        cpu_.floating.mxcsr = value;
        return done();
    }

    ExecuteOutcome count_bits() {
        const unsigned bits = instruction_.operand_bytes * 8U;
        std::uint64_t value = 0;
        if (instruction_.memory) {
            const Gva at = address_of(*instruction_.memory, instruction_, cpu_);
            if (!is_canonical(at.value(), cpu_.system.cr4)) return raise(GuestException::protection, 0);
            const auto bytes = std::as_writable_bytes(std::span{&value, 1}).first(instruction_.operand_bytes);
            if (const auto loaded = linear_.read(at, bytes); !loaded) return raise(loaded.error());
        } else {
            value = general(cpu_.general, instruction_.source);
            if (bits < 64) value &= (std::uint64_t{1} << bits) - 1;
        }
        const std::uint64_t flags = cpu_.general.rflags & ~result_flags;
        std::uint64_t result = 0;
        if (instruction_.operation == Operation::popcnt) {
            result = static_cast<std::uint64_t>(std::popcount(value));
            cpu_.general.rflags = flags | (value == 0 ? flag_zf : 0);
        } else {
            const bool leading = instruction_.operation == Operation::lzcnt;
            const auto zeroes = static_cast<unsigned>(leading ? std::countl_zero(value) - static_cast<int>(64 - bits)
                                                              : std::countr_zero(value));
            result = value == 0 ? bits : zeroes;
            cpu_.general.rflags = flags | (value == 0 ? flag_cf : 0) | (result == 0 ? flag_zf : 0);
        }
        set_general(cpu_.general, instruction_.target, result, instruction_.operand_bytes);
        return done();
    }

    ExecuteOutcome segment_base() {
        if ((cpu_.system.cr4 & cr4_fsgsbase) == 0) return raise(GuestException::undefined);
        const Operation operation = instruction_.operation;
        const bool fs = operation == Operation::rdfsbase || operation == Operation::wrfsbase;
        SegmentRegister& segment = fs ? cpu_.system.fs : cpu_.system.gs;
        if (operation == Operation::rdfsbase || operation == Operation::rdgsbase) {
            set_general(cpu_.general, instruction_.source, segment.base, instruction_.operand_bytes);
            return done();
        }
        std::uint64_t value = general(cpu_.general, instruction_.source);
        if (instruction_.operand_bytes != 8) value &= 0xFFFF'FFFF;
        if (!is_canonical(value, cpu_.system.cr4)) return raise(GuestException::protection, 0);
        segment.base = value;
        return done();
    }

    ExecuteOutcome random() {
        std::uint64_t value = 0;
        const bool drawn = ::getrandom(&value, sizeof(value), GRND_NONBLOCK) == sizeof(value);
        // No number this time is an answer that programs expect (CF = 0, the register zero).
        set_general(cpu_.general, instruction_.source, drawn ? value : 0, instruction_.operand_bytes);
        cpu_.general.rflags = (cpu_.general.rflags & ~result_flags) | (drawn ? flag_cf : 0);
        return done();
    }

    const Instruction& instruction_;
    CpuImage& cpu_;
    LinearMemory linear_;
};

}  // namespace

ExecuteOutcome execute(const Instruction& instruction, CpuImage& cpu, GuestMemory& memory) {
    return Execution(instruction, cpu, memory).run();
}

}  // namespace penumbra::vmm
