// Ring 0's share of a guest: descriptor tables of each vCPU and the fatal trap. Some hosts interpret ring 0 one
// instruction at a time and know few of them, so this file is small and keeps to the general registers.
#pragma GCC target("general-regs-only")

#include "guest-images/common/runtime.hpp"

#include <cstddef>

namespace penumbra::guest {
namespace {

struct [[gnu::packed]] Gate {
    std::uint16_t offset_low;
    std::uint16_t selector;
    std::uint16_t attributes;
    std::uint16_t offset_middle;
    std::uint32_t offset_high;
    std::uint32_t reserved;
};
static_assert(sizeof(Gate) == 16);

struct [[gnu::packed]] TaskState {
    std::uint32_t reserved0;
    std::uint64_t ring0_stack;
    std::uint64_t other_stacks[2];
    std::uint64_t reserved1;
    std::uint64_t interrupt_stacks[7];
    std::uint64_t reserved2;
    std::uint16_t reserved3;
    std::uint16_t io_map_base;
};
static_assert(sizeof(TaskState) == 104);

struct [[gnu::packed]] TablePointer {
    std::uint16_t limit;
    std::uint64_t base;
};

constexpr unsigned exception_vectors = 32;
constexpr std::uint64_t stub_bytes = 16;
constexpr std::uint16_t kernel_code = 0x08;
constexpr std::uint16_t task_selector = 0x28;
constexpr std::uint16_t interrupt_gate = 0x8E00;  // present, DPL 0

/// Everything of one vCPU, so that no two share a table that the CPU writes (the TSS's busy bit).
struct alignas(2048) CpuTables {
    std::uint64_t gdt[7];
    TaskState task;
    alignas(16) Gate idt[exception_vectors];
    alignas(16) std::uint8_t trap_stack[1024];
};
static_assert(sizeof(CpuTables) == 2048);

CpuTables cpu_tables[abi::max_vcpus];

/// What the stubs leave on the trap stack.
struct TrapFrame {
    std::uint64_t vector;
    std::uint64_t error_code;
    std::uint64_t rip;
    std::uint64_t cs;
    std::uint64_t rflags;
    std::uint64_t rsp;
    std::uint64_t ss;
};

/// The line is built next to the trap stack: own code, since shared inline code may be compiled for ring 3.
struct alignas(128) TrapLine {
    std::uint64_t bytes;
    char data[120];
};
TrapLine trap_lines[abi::max_vcpus];

void append(TrapLine& line, const char* text) {
    for (; *text != 0 && line.bytes < sizeof(line.data); ++text) line.data[line.bytes++] = *text;
}
void append_hex(TrapLine& line, std::uint64_t value) {
    append(line, "0x");
    int shift = 60;
    while (shift > 0 && (value >> shift) == 0) shift -= 4;
    for (; shift >= 0; shift -= 4) {
        const char digit[2] = {"0123456789abcdef"[(value >> shift) & 15], 0};
        append(line, digit);
    }
}

}  // namespace

extern "C" {

extern const std::uint8_t runtime_trap_stubs[];

/// Called by entry.S on each vCPU in ring 0. Returns 0 where the workload stays there, else 3.
std::uint64_t runtime_start(const abi::BootInfo* boot, std::uint64_t cpu) {
    CpuTables& tables = cpu_tables[cpu % abi::max_vcpus];
    const auto task = reinterpret_cast<std::uint64_t>(&tables.task);
    tables.task.ring0_stack = reinterpret_cast<std::uint64_t>(tables.trap_stack + sizeof(tables.trap_stack));
    tables.task.io_map_base = sizeof(TaskState);
    tables.gdt[1] = 0x00AF'9B00'0000'FFFF;  // 0x08: ring 0 code, 64-bit
    tables.gdt[2] = 0x00CF'9300'0000'FFFF;  // 0x10: ring 0 data
    tables.gdt[3] = 0x00CF'F300'0000'FFFF;  // 0x18: ring 3 data
    tables.gdt[4] = 0x00AF'FB00'0000'FFFF;  // 0x20: ring 3 code, 64-bit
    tables.gdt[5] = (sizeof(TaskState) - 1) | (task & 0xFF'FFFF) << 16 | 0x89ULL << 40 | (task >> 24 & 0xFF) << 56;
    tables.gdt[6] = task >> 32;
    for (unsigned vector = 0; vector < exception_vectors; ++vector) {
        const auto stub = reinterpret_cast<std::uint64_t>(runtime_trap_stubs) + vector * stub_bytes;
        tables.idt[vector] = Gate{static_cast<std::uint16_t>(stub),
                                  kernel_code,
                                  interrupt_gate,
                                  static_cast<std::uint16_t>(stub >> 16),
                                  static_cast<std::uint32_t>(stub >> 32),
                                  0};
    }
    const TablePointer gdt{sizeof(tables.gdt) - 1, reinterpret_cast<std::uint64_t>(tables.gdt)};
    const TablePointer idt{sizeof(tables.idt) - 1, reinterpret_cast<std::uint64_t>(tables.idt)};
    asm volatile("lgdt %0" : : "m"(gdt) : "memory");
    asm volatile("lidt %0" : : "m"(idt) : "memory");
    asm volatile("ltr %0" : : "r"(task_selector) : "memory");
    return boot->ring;
}

/// Called by entry.S in ring 0 for any exception: an image has no business raising one.
void runtime_trap(const TrapFrame* frame, std::uint64_t fault_address) {
    const auto tables = reinterpret_cast<std::uint64_t>(cpu_tables);
    const std::uint64_t cpu = (reinterpret_cast<std::uint64_t>(frame) - tables) / sizeof(CpuTables);
    TrapLine& line = trap_lines[cpu % abi::max_vcpus];  // a ring 0 trap stays on the boot stack: any line will do
    line.bytes = 0;
    append(line, "trap ");
    append_hex(line, frame->vector);
    append(line, " error ");
    append_hex(line, frame->error_code);
    append(line, " at ");
    append_hex(line, frame->rip);
    append(line, " address ");
    append_hex(line, fault_address);
    port_write(abi::Port::console, reinterpret_cast<std::uint64_t>(&line));
    port_write(abi::Port::trap, frame->vector);
}

// The compiler may ask for these. String instructions are fast in ring 3 and known to every interpreter of ring 0.
void* memset(void* target, int value, std::size_t bytes) {
    void* at = target;
    asm volatile("rep stosb" : "+D"(at), "+c"(bytes) : "a"(value) : "memory");
    return target;
}
void* memcpy(void* target, const void* source, std::size_t bytes) {
    void* at = target;
    asm volatile("rep movsb" : "+D"(at), "+S"(source), "+c"(bytes) : : "memory");
    return target;
}

}  // extern "C"

}  // namespace penumbra::guest
