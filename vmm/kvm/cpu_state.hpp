// Processor state as the rest of the VMM sees it: no KVM structure in it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/address.hpp"

namespace penumbra::vmm {

struct Registers {
    std::uint64_t rax = 0, rbx = 0, rcx = 0, rdx = 0, rsi = 0, rdi = 0, rsp = 0, rbp = 0;
    std::uint64_t r8 = 0, r9 = 0, r10 = 0, r11 = 0, r12 = 0, r13 = 0, r14 = 0, r15 = 0;
    std::uint64_t rip = 0;
    std::uint64_t rflags = 2;  // bit 1 is always set

    friend bool operator==(const Registers&, const Registers&) = default;
};

/// A segment register with its hidden part (SDM volume 3, 3.4.5). `limit` in bytes, whatever the granularity bit.
struct SegmentRegister {
    std::uint64_t base = 0;
    std::uint32_t limit = 0;
    std::uint16_t selector = 0;
    std::uint8_t type = 0;  ///< four bits
    std::uint8_t dpl = 0;
    bool present = false;
    bool code_or_data = false;  ///< S: not a system segment
    bool long_mode = false;     ///< L
    bool big = false;           ///< D/B
    bool pages = false;         ///< G
    bool available = false;     ///< AVL
    bool unusable = false;

    friend bool operator==(const SegmentRegister&, const SegmentRegister&) = default;
};

struct DescriptorTable {
    std::uint64_t base = 0;
    std::uint16_t limit = 0;

    friend bool operator==(const DescriptorTable&, const DescriptorTable&) = default;
};

struct SystemRegisters {
    SegmentRegister cs, ds, es, fs, gs, ss, tr, ldt;
    DescriptorTable gdt, idt;
    std::uint64_t cr0 = 0, cr2 = 0, cr3 = 0, cr4 = 0, cr8 = 0, efer = 0;

    friend bool operator==(const SystemRegisters&, const SystemRegisters&) = default;
};

/// x87 and SSE, as FXSAVE shows them (SDM volume 1, 10.5.1).
struct FloatRegisters {
    std::array<std::array<std::byte, 16>, 8> x87{};
    std::array<std::array<std::byte, 16>, 16> xmm{};
    std::uint16_t control = 0, status = 0;
    std::uint8_t tags = 0;  ///< abridged
    std::uint16_t last_opcode = 0;
    std::uint64_t last_instruction = 0, last_data = 0;
    std::uint32_t mxcsr = 0;

    friend bool operator==(const FloatRegisters&, const FloatRegisters&) = default;
};

struct GuestException {
    static constexpr std::uint8_t divide = 0, breakpoint = 3, overflow = 4, undefined = 6, no_device = 7, stack = 12,
                                  protection = 13, page = 14, x87 = 16, simd = 19;
    std::uint8_t vector = undefined;
    std::optional<std::uint32_t> error_code;
};

/// The segments that a long-mode boot finds loaded, and the table that they are in: a flat 64-bit code segment and flat
/// data segments. Without a table (limit 0) the guest may not load a segment before it has made its own.
struct BootSegments {
    std::uint16_t code = 0x08;
    std::uint16_t data = 0x10;
    Gva table;
    std::uint16_t table_limit = 0;
};

/// Everything that differs between one long-mode boot and another; the rest is fixed: CPL 0, flat segments, interrupts
/// off, paging, SSE and no-execute on.
struct LongModeEntry {
    Gva instruction;  ///< RIP
    Gva stack_top;    ///< RSP
    Gpa tables;       ///< CR3: page-aligned root of four-level page tables
    std::uint64_t rdi = 0;
    std::uint64_t rsi = 0;
    BootSegments segments{};
};

}  // namespace penumbra::vmm
