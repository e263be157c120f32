#include "tests/kvm/guest_code.hpp"

// Position-independent: runs from abi::image_base. The descriptor tables are the machine's.
asm(R"(
    .pushsection .rodata.guest_fragments, "a"
    .globl guest_code_begin, guest_code_end, guest_enter_user, guest_trap_stubs
    .globl guest_store, guest_load, guest_port_out, guest_port_string, guest_spin, guest_halt, guest_popcount
    .globl guest_undefined, guest_count_ticks, guest_sweep
guest_code_begin:
guest_enter_user:           # rbx: where to go, r8: flags, r9: descriptor tables
    lgdt 0(%r9)
    lidt 16(%r9)
    mov $0x28, %eax
    ltr %ax
    mov %rsp, %rax
    push $0x1b
    push %rax
    push %r8
    push $0x23
    push %rbx
    iretq
guest_store:
    mov %rdx, (%rcx)
guest_spin:
    pause
    jmp guest_spin
guest_load:
    mov (%rcx), %rdx
    mov $0xd0000000, %ecx
    mov %rdx, (%rcx)
    jmp guest_spin
guest_port_out:
    mov %dl, %al
    mov $0x3f8, %edx
    out %al, (%dx)
    mov $0x3fd, %edx
    xor %eax, %eax
    in (%dx), %al
    mov $0xd0000008, %ecx
    mov %rax, (%rcx)
    jmp guest_spin
guest_port_string:
    mov $0x3f8, %edx
    cld
    rep outsb
    jmp guest_spin
guest_halt:
    hlt
    jmp guest_halt
guest_popcount:
    popcnt %rdx, %rdx
    jmp guest_store
guest_undefined:
    ud2
guest_count_ticks:
    rdtsc
    shl $32, %rdx
    or %rax, %rdx
    mov $0xd0000000, %ecx
    mov %rdx, (%rcx)
    jmp guest_spin
guest_sweep:
1:  mov %rsi, %rax
2:  incq (%rax)
    add $4096, %rax
    cmp %rdi, %rax
    jb 2b
    dec %rcx
    jnz 1b
    mov $0xd0000008, %eax
    mov %rcx, (%rax)
    jmp guest_spin
    .balign 16
guest_trap_stubs:
    .set vector, 0
    .rept 32
    .balign 16
    mov $vector, %ecx
    mov $0xd0000038, %eax
    mov %rcx, (%rax)
    .set vector, vector + 1
    .endr
guest_code_end:
    .popsection
)");
