// Processor state as the rest of the VMM sees it: no KVM structure in it.
#pragma once

#include <cstdint>

#include "base/address.hpp"

namespace penumbra::vmm {

struct Registers {
    std::uint64_t rax = 0, rbx = 0, rcx = 0, rdx = 0, rsi = 0, rdi = 0, rsp = 0, rbp = 0;
    std::uint64_t r8 = 0, r9 = 0, r10 = 0, r11 = 0, r12 = 0, r13 = 0, r14 = 0, r15 = 0;
    std::uint64_t rip = 0;
    std::uint64_t rflags = 2;  // bit 1 is always set

    friend bool operator==(const Registers&, const Registers&) = default;
};

/// Everything that differs between one long-mode boot and another; the rest is fixed: CPL 0, flat segments, interrupts
/// off, paging, SSE and no-execute on.
struct LongModeEntry {
    Gva instruction;  ///< RIP
    Gva stack_top;    ///< RSP
    Gpa tables;       ///< CR3: page-aligned root of four-level page tables
    std::uint64_t rdi = 0;
    std::uint64_t rsi = 0;
};

}  // namespace penumbra::vmm
