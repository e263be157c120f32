// The few instructions that KVM's interpreter does not know and that kernels use in ring 0 all the same: recognised
// here, in 64-bit code only. (arch/x86/kvm/emulate.c has the table of what it knows; encodings: SDM volume 2.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace penumbra::vmm {

enum class Operation : std::uint8_t {
    int3,
    clac,
    stac,
    fwait,
    ldmxcsr,
    stmxcsr,
    fence,       ///< lfence, mfence, sfence, serialize: leaving and entering the guest is all of them
    write_back,  ///< clwb, clflushopt: nothing to see for a guest whose memory is coherent
    popcnt,
    lzcnt,
    tzcnt,
    rdfsbase,
    rdgsbase,
    wrfsbase,
    wrgsbase,
    rdrand,
    rdseed,
    count
};

[[nodiscard]] std::string_view name_of(Operation operation);

/// Numbers of general registers are the processor's: 0 RAX, 1 RCX, 2 RDX, 3 RBX, 4 RSP, 5 RBP, 6 RSI, 7 RDI, 8..15.
struct MemoryOperand {
    enum class Base : std::uint8_t { none, general, instruction_end };
    enum class Override : std::uint8_t { none, fs, gs };  ///< the other segments start at 0 in 64-bit code
    Base base = Base::none;
    std::uint8_t base_register = 0;
    std::optional<std::uint8_t> index_register;
    std::uint8_t scale = 1;
    std::int64_t displacement = 0;
    Override segment = Override::none;
    bool short_address = false;  ///< prefix 67: computed in 32 bits

    friend bool operator==(const MemoryOperand&, const MemoryOperand&) = default;
};

struct Instruction {
    Operation operation = Operation::int3;
    std::uint8_t length = 0;         ///< 1..15
    std::uint8_t operand_bytes = 4;  ///< 2, 4 or 8
    std::uint8_t target = 0;         ///< register that ModRM.reg names
    std::uint8_t source = 0;         ///< register that ModRM.rm names, unless `memory`
    std::optional<MemoryOperand> memory;

    friend bool operator==(const Instruction&, const Instruction&) = default;
};

/// nullopt: cut short, or none of ours; what takes a LOCK prefix never is.
[[nodiscard]] std::optional<Instruction> decode(std::span<const std::byte> bytes);

}  // namespace penumbra::vmm
