// Steps on the processor that may end in an exception, and the registers of its mode: the machine-level part of the
// image walk_sweep, which alone includes it. Ring 0, general registers only.
#pragma once

#include <cstdint>

namespace penumbra::guest::sweep {

struct [[gnu::packed]] Gate {
    std::uint16_t offset_low;
    std::uint16_t selector;
    std::uint16_t attributes;
    std::uint16_t offset_middle;
    std::uint32_t offset_high;
    std::uint32_t reserved;
};
inline Gate gates[32];
struct [[gnu::packed]] TablePointer {
    std::uint16_t limit;
    std::uint64_t base;
};

/// What the last exception left.
struct TrapRecord {
    std::uint64_t error_code, instruction, fault_address;
};

/// What a step does: reads, writes or calls `address` in ring 0 with `flags` added to RFLAGS; goes to `entry` in ring 3
/// with RAX = `address`, RBX = `value` and RSP = 0x40'0000'2000; loads `value` into CR0, CR4 or the MSR `address`.
enum class Step : std::uint64_t { read, write, fetch, user, set_cr0, set_cr4, set_msr };

extern "C" {
[[gnu::used]] inline TrapRecord sweep_trap_record;
[[gnu::used]] inline std::uint64_t sweep_saved_stack;
extern const std::uint8_t sweep_trap_stubs[];

/// Makes one step and comes back after it or from its exception: 256, or the exception's vector. Ring 3 has no other
/// way back than an exception.
std::uint64_t sweep_step(Step step, std::uint64_t address, std::uint64_t value, std::uint64_t flags,
                         std::uint64_t entry);
}

asm(R"(
    .text
    .globl sweep_step
sweep_step:
    push    %rbx
    push    %rbp
    push    %r12
    push    %r13
    push    %r14
    push    %r15
    pushfq
    mov     %rsp, sweep_saved_stack
    cmp     $3, %rdi
    je      3f
    cmp     $4, %rdi
    je      4f
    cmp     $5, %rdi
    je      5f
    cmp     $6, %rdi
    je      6f
    pushfq
    or      %rcx, (%rsp)
    popfq
    cmp     $1, %rdi
    je      1f
    cmp     $2, %rdi
    je      2f
    mov     (%rsi), %rax
    jmp     sweep_done
1:  mov     %rdx, (%rsi)
    jmp     sweep_done
2:  call    *%rsi
    jmp     sweep_done
3:  mov     %rsi, %rax
    mov     %rdx, %rbx
    mov     $0x4000002000, %rcx
    push    $0x1b
    push    %rcx
    push    $0x2
    push    $0x23
    push    %r8
    iretq
4:  mov     %rdx, %cr0
    jmp     sweep_done
5:  mov     %rdx, %cr4
    jmp     sweep_done
6:  mov     %esi, %ecx
    mov     %edx, %eax
    shr     $32, %rdx
    wrmsr
sweep_done:
    mov     $256, %eax
sweep_out:
    mov     sweep_saved_stack, %rsp
    popfq
    pop     %r15
    pop     %r14
    pop     %r13
    pop     %r12
    pop     %rbp
    pop     %rbx
    ret

    .balign 16
    .globl  sweep_trap_stubs
sweep_trap_stubs:
    .set    sweep_vector, 0
    .rept   32
    .balign 16
    .if (sweep_vector == 8) || ((sweep_vector >= 10) && (sweep_vector <= 14)) || (sweep_vector == 17) || (sweep_vector == 21)
    .else
    push    $0
    .endif
    push    $sweep_vector
    jmp     sweep_trapped
    .set    sweep_vector, sweep_vector + 1
    .endr
sweep_trapped:
    mov     8(%rsp), %rcx
    mov     %rcx, sweep_trap_record
    mov     16(%rsp), %rcx
    mov     %rcx, sweep_trap_record + 8
    mov     %cr2, %rcx
    mov     %rcx, sweep_trap_record + 16
    mov     (%rsp), %rax
    jmp     sweep_out
)");

inline constexpr std::uint32_t msr_efer = 0xC000'0080;

struct CpuidAnswer {
    std::uint32_t eax, ebx, ecx, edx;
};
inline CpuidAnswer cpuid(std::uint32_t leaf, std::uint32_t subleaf = 0) {
    CpuidAnswer answer{};
    asm volatile("cpuid"
                 : "=a"(answer.eax), "=b"(answer.ebx), "=c"(answer.ecx), "=d"(answer.edx)
                 : "a"(leaf), "c"(subleaf));
    return answer;
}
inline std::uint64_t read_cr0() {
    std::uint64_t value;
    asm volatile("mov %%cr0, %0" : "=r"(value));
    return value;
}
inline std::uint64_t read_cr4() {
    std::uint64_t value;
    asm volatile("mov %%cr4, %0" : "=r"(value));
    return value;
}
inline std::uint64_t read_efer() {
    std::uint32_t low;
    std::uint32_t high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr_efer));
    return std::uint64_t{high} << 32 | low;
}
inline void load_root(std::uint64_t table) { asm volatile("mov %0, %%cr3" : : "r"(table) : "memory"); }
inline void set_user_key_rights(std::uint32_t rights) {
    asm volatile(".byte 0x0f, 0x01, 0xef" : : "a"(rights), "c"(0), "d"(0));
}

/// From now on exceptions end the step that raised them.
inline void take_exceptions() {
    for (unsigned vector = 0; vector < 32; ++vector) {
        const auto stub = reinterpret_cast<std::uint64_t>(sweep_trap_stubs) + vector * 16;
        gates[vector] =
            Gate{static_cast<std::uint16_t>(stub),       0x08, 0x8E00, static_cast<std::uint16_t>(stub >> 16),
                 static_cast<std::uint32_t>(stub >> 32), 0};
    }
    const TablePointer idt{sizeof(gates) - 1, reinterpret_cast<std::uint64_t>(gates)};
    asm volatile("lidt %0" : : "m"(idt) : "memory");
}

}  // namespace penumbra::guest::sweep
