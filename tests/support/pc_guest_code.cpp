// The code of pc_guest.hpp. It runs where it is loaded, entered as the 64-bit boot protocol says (kernel,
// Documentation/arch/x86/boot.rst), with all memory below 4 GiB mapped to itself by the tables at 0x2000.
//
// Its memory: 0x60000 the IDT, 0x61000 what it found at its start, 0x62000 a byte per CPU that came up, 0x63000 whether
// CPUs wait for interrupts and the IDT's descriptor, 0x70000 where other CPUs begin, 0x80000 their stacks, 0x300000 the
// word of memory.
asm(R"(
    .pushsection .rodata.pc_guest, "a"
    .globl pc_guest_begin, pc_guest_end
pc_guest_begin:
pcg_begin:
    mov 0x228(%rsi), %r15d; call pcg_gather
    mov $0x3f9, %edx        # COM1: interrupt on input, FIFO, pin connected
    mov $1, %al; out %al, (%dx)
    inc %edx; out %al, (%dx)
    mov $0x3fc, %edx; mov $0x0b, %al; out %al, (%dx)
    lea pcg_ready(%rip), %rsi; call pcg_print
pcg_next:
    call pcg_command
    lea pcg_commands(%rip), %rbx
1:  movzbl (%rbx), %ecx; jrcxz pcg_next
    cmp %al, %cl; je 2f
    add $8, %rbx; jmp 1b
2:  movslq 4(%rbx), %rcx; lea pcg_begin(%rip), %rdx
    add %rdx, %rcx; jmp *%rcx
    .balign 8
pcg_commands:
    .macro pcg_entry letter, label
    .long \letter, \label - pcg_begin
    .endm
    pcg_entry 'e', pcg_echo
    pcg_entry 's', pcg_slow_echo
    pcg_entry 'u', pcg_dots
    pcg_entry 'b', pcg_button
    pcg_entry 't', pcg_state
    pcg_entry 'g', pcg_gather_again
    pcg_entry 'd', pcg_disturb
    pcg_entry 'c', pcg_start_cpus
    pcg_entry 'n', pcg_count_cpus
    pcg_entry 'i', pcg_interrupts
    pcg_entry 'p', pcg_route_pins
    pcg_entry 'h', pcg_wait
    pcg_entry 'w', pcg_ring
    pcg_entry 'o', pcg_off
    pcg_entry 'r', pcg_reset_keyboard
    pcg_entry 'k', pcg_reset_control
    pcg_entry 'f', pcg_triple_fault
    .long 0, 0

pcg_command:                # -> al
    movzbl (%r15), %eax; test %al, %al; jz pcg_receive
    inc %r15; ret
pcg_receive:                # -> al, a byte of COM1
    mov $0x3fd, %edx
1:  pause; in (%dx), %al
    test $1, %al; jz 1b
    mov $0x3f8, %edx; in (%dx), %al; ret
pcg_send:                   # al
    mov $0x3f8, %edx; out %al, (%dx)
    ret
pcg_print:                  # rsi: text
1:  lodsb; test %al, %al
    jz 2f
    call pcg_send
    jmp 1b
2:  ret
pcg_hex:                    # eax: eight digits and a space
    mov %eax, %edi; mov $8, %ecx
1:  rol $4, %edi; mov %edi, %eax
    and $15, %eax; add $'0', %eax; cmp $'9', %eax; jbe 2f
    add $39, %eax
2:  call pcg_send; dec %ecx
    jnz 1b
    mov $' ', %al; jmp pcg_send
pcg_line_end:
    mov $10, %al; call pcg_send
    jmp pcg_next

pcg_echo:
    call pcg_receive
    cmp $4, %al; je pcg_next
    call pcg_send
    jmp pcg_echo
pcg_slow_echo:
    mov $500, %ecx
1:  pause; dec %ecx
    jnz 1b
    call pcg_receive
    cmp $4, %al; je pcg_next
    call pcg_send
    jmp pcg_slow_echo
pcg_dots:
    mov $200, %ecx
1:  pause; dec %ecx
    jnz 1b
    mov $'.', %al; call pcg_send
    mov $0x3fd, %edx; in (%dx), %al; test $1, %al; jz pcg_dots
    jmp pcg_next
pcg_button:
    mov $0x600, %edx
1:  pause; inw (%dx), %ax
    test $0x100, %eax; jz 1b
    lea pcg_button_text(%rip), %rsi; call pcg_print
    jmp pcg_next

pcg_ioapic:                 # eax: index -> rbx: its data register
    mov $0xfec00000, %ebx; mov %eax, (%rbx); add $16, %ebx; ret
pcg_pci:                    # -> edx: data port of command and status of device 1
    mov $0x80000804, %eax; mov $0xcf8, %edx; out %eax, (%dx)
    mov $0xcfc, %edx; ret
pcg_gather:
    mov $0x61000, %edi; cld; mov 0x300000, %eax; stosl
    mov $0xfee000f0, %ebx   # local APIC: spurious interrupts
    mov (%rbx), %eax
    stosl
    mov $0xfee00320, %ebx   # its timer
    mov (%rbx), %eax
    stosl
    mov $0x18, %eax         # IOAPIC: pin 4
    call pcg_ioapic; mov (%rbx), %eax
    stosl
    xor %eax, %eax          # PIC: mask
    in $0x21, %al; stosl
    mov $0x3ff, %edx        # COM1: scratch, line control
    xor %eax, %eax; in (%dx), %al; stosl
    mov $0x3fb, %edx; in (%dx), %al; stosl
    mov $0x602, %edx        # power management: enable
    xor %eax, %eax; inw (%dx), %ax; stosl
    call pcg_pci; in (%dx), %eax; stosl
    mov $0x174, %ecx        # SYSENTER_CS, KERNEL_GS_BASE
    rdmsr; stosl
    mov $0xc0000102, %ecx; rdmsr; stosl
    mov %dr0, %rax; stosl
    ret
pcg_gather_again:
    call pcg_gather
    jmp pcg_next
pcg_state:
    lea pcg_state_text(%rip), %rsi; call pcg_print
    mov $0x61000, %esi; mov $12, %ebx
1:  lodsl; call pcg_hex
    dec %ebx; jnz 1b
    jmp pcg_line_end
pcg_disturb:
    movl $0x12345678, 0x300000; mov $0xfee000f0, %ebx; movl $0x1ee, (%rbx); mov $0xfee00320, %ebx
    movl $0x100ed, (%rbx); mov $0x18, %eax; call pcg_ioapic; movl $0x10042, (%rbx)
    mov $0x5a, %al; out %al, $0x21
    mov $0x3ff, %edx; out %al, (%dx)
    mov $0x3fb, %edx; mov $3, %al; out %al, (%dx)
    mov $0x602, %edx; mov $0x100, %eax; outw %ax, (%dx)
    call pcg_pci; mov $6, %eax; outw %ax, (%dx)
    mov $0x174, %ecx; xor %edx, %edx; mov $0x10, %eax; wrmsr
    mov $0xc0000102, %ecx; mov $0x345678, %eax; wrmsr
    mov %rax, %dr0; jmp pcg_next

pcg_copy_start:
    lea pcg_other_cpu(%rip), %rsi; mov $0x70000, %edi
    mov $(pcg_other_cpu_end - pcg_other_cpu), %ecx; cld; rep movsb
    ret
pcg_start_cpus:
    call pcg_copy_start
    mov $0xfee000f0, %ebx; movl $0x1ff, (%rbx); mov $0xfee00300, %ebx; movl $0, 0x10(%rbx)
    movl $0xc4500, (%rbx)   # to all but this: INIT
    movl $0xc4670, (%rbx)   # SIPI: begin at page 0x70
    jmp pcg_next
pcg_count_cpus:
    xor %eax, %eax; mov $0x62000, %ebx; mov $256, %ecx
1:  movzbl (%rbx), %edx; add %edx, %eax
    inc %ebx; dec %ecx; jnz 1b
    mov %eax, %ebp; lea pcg_cpus_text(%rip), %rsi; call pcg_print
    mov %ebp, %eax; call pcg_hex
    jmp pcg_line_end

pcg_interrupts:
    lea pcg_vectors(%rip), %rax; mov $0x60000, %edi; mov $256, %ecx
1:  mov %ax, (%rdi)         # all below 4 GiB
    movl $0x8e000010, 2(%rdi); mov %eax, %edx; shr $16, %edx; mov %dx, 6(%rdi)
    movq $0, 8(%rdi); add $16, %rax; add $16, %rdi; dec %ecx
    jnz 1b
    movw $4095, 0x63010; movq $0x60000, 0x63012; movl $1, 0x63000; call pcg_copy_start
    lgdt 0x70000 + pcg_gdt_pointer - pcg_other_cpu
    mov $0x18, %eax; mov %eax, %ss; mov %eax, %ds; mov %eax, %es
    lea 1f(%rip), %rax; pushq $0x10; push %rax; lretq
1:
    jmp pcg_next
pcg_route_pins:
    mov $0x19, %eax; call pcg_ioapic; movl $0x01000000, (%rbx); mov $0x18, %eax
    call pcg_ioapic; movl $0x44, (%rbx); mov $0x1a, %eax; call pcg_ioapic
    movl $0x8045, (%rbx); jmp pcg_next
pcg_ring:
    mov $0xd0100050, %ebx; movw $1, (%rbx); lea pcg_rung_text(%rip), %rsi; call pcg_print
    jmp pcg_next
pcg_off:
    mov $0x604, %edx; mov $0x3400, %eax; outw %ax, (%dx)
    jmp pcg_stay
pcg_reset_keyboard:
    mov $0xfe, %al; out %al, $0x64
    jmp pcg_stay
pcg_reset_control:
    mov $0xcf9, %edx; mov $6, %al; out %al, (%dx)
    jmp pcg_stay
pcg_triple_fault:
    movw $0, 0x63010; movq $0, 0x63012; lidt 0x63010
    ud2
pcg_stay:
    pause; jmp pcg_stay

    .code16
pcg_other_cpu:              # at 0x70000, in real mode
    cli; mov %cs, %ax; mov %ax, %ds; lgdtl pcg_gdt_pointer - pcg_other_cpu
    mov $0x20, %eax; mov %eax, %cr4; mov $0x2000, %eax; mov %eax, %cr3
    mov $0xc0000080, %ecx; rdmsr; or $0x100, %eax; wrmsr
    mov %cr0, %eax; or $0x80000001, %eax; mov %eax, %cr0
    ljmpl $0x10, $(0x70000 + pcg_other_cpu_long - pcg_other_cpu)
    .balign 8
pcg_gdt:
    .quad 0, 0x00af9b000000ffff, 0x00af9b000000ffff, 0x00cf93000000ffff
pcg_gdt_pointer:
    .word 31
    .quad 0x70000 + pcg_gdt - pcg_other_cpu
    .code64
pcg_other_cpu_long:
    mov $0x18, %eax; mov %eax, %ss; mov %eax, %ds; mov %eax, %es
    mov $0xfee00020, %ebx; mov (%rbx), %edi
    shr $24, %edi; mov %edi, %eax; shl $8, %eax; lea 0x80100(%rax), %rsp
    movb $1, 0x62000(%rdi); cmpl $0, 0x63000; jne pcg_wait
1:  hlt
    jmp 1b
pcg_wait:
    lidt 0x63010
    mov $0xfee000f0, %ebx; movl $0x1ff, (%rbx); mov $0xffff, %ecx; mov $0xfee00020, %ebx
    mov (%rbx), %eax
    shr $24, %eax; shl $32, %rax; or %rcx, %rax; mov $0xd0000000, %ebx
    mov %rax, (%rbx)
1:  sti; hlt
    jmp 1b
pcg_other_cpu_end:

pcg_interrupted:            # the vector is on the stack
    push %rax; push %rbx; mov $0xfee00020, %ebx; mov (%rbx), %eax
    shr $24, %eax; shl $32, %rax; or 16(%rsp), %rax; mov $0xd0000000, %ebx
    mov %rax, (%rbx); mov $0xfee000b0, %ebx; movl $0, (%rbx); pop %rbx
    pop %rax; add $8, %rsp; iretq
    .balign 16
pcg_vectors:
    .set pcg_vector, 0
    .rept 256
    .balign 16
    pushq $pcg_vector
    jmp pcg_interrupted
    .set pcg_vector, pcg_vector + 1
    .endr
pcg_ready: .asciz "ready\n"
pcg_button_text: .asciz "button\n"
pcg_state_text: .asciz "state "
pcg_cpus_text: .asciz "cpus "
pcg_rung_text: .asciz "rung\n"
pc_guest_end:
    .popsection
)");
