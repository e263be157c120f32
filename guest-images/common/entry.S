// First bytes of every image, the way to ring 3, and the exception stubs. All of it but `workload` runs in ring 0.
    .section .entry, "ax"
    .code64
    .globl image_entry
image_entry:
    jmp     start
    .org    8
    .ascii  "PNUMIMG1"
    .quad   image_file_bytes
    .quad   image_memory_bytes
    .quad   0

// RDI = BootInfo, RSI = vCPU number, RSP = top of the private stack, which the workload goes on to use.
start:
    mov     %rdi, %r12
    mov     %rsi, %r13
    call    runtime_start
    mov     %r12, %rdi
    mov     %r13, %rsi
    test    %rax, %rax
    jz      workload
    mov     %rsp, %rax
    push    $0x1b               // SS: user data
    push    %rax
    push    $0x2                // RFLAGS: interrupts off
    push    $0x23               // CS: user code
    push    $workload
    iretq

workload:
    xor     %ebp, %ebp
    call    image_main
1:  pause
    jmp     1b

// 32 stubs of 16 bytes each: they level the frame (an error code where the CPU pushes none) and add the vector.
    .balign 16
    .globl  runtime_trap_stubs
runtime_trap_stubs:
    .set    vector, 0
    .rept   32
    .balign 16
    .if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
    .else
    push    $0
    .endif
    push    $vector
    jmp     trap_common
    .set    vector, vector + 1
    .endr

trap_common:
    mov     %rsp, %rdi
    mov     %cr2, %rsi
    and     $-16, %rsp
    call    runtime_trap
1:  pause
    jmp     1b

    .section .note.GNU-stack, "", @progbits
