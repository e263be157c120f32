// Vcpu's registers: KVM's structures to ours and back.
#include "vmm/kvm/cpu_state.hpp"

#include <linux/kvm.h>

#include "base/assert.hpp"
#include "vmm/kvm/ioctl.hpp"
#include "vmm/kvm/vcpu.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::uint64_t cr0_pe = 1U << 0, cr0_mp = 1U << 1, cr0_et = 1U << 4, cr0_ne = 1U << 5, cr0_wp = 1U << 16,
                        cr0_pg = 1U << 31;
constexpr std::uint64_t cr4_pae = 1U << 5, cr4_osfxsr = 1U << 9, cr4_osxmmexcpt = 1U << 10, cr4_fsgsbase = 1U << 16;
constexpr std::uint64_t efer_lme = 1U << 8, efer_lma = 1U << 10, efer_nx = 1U << 11;

// SDM volume 3, table 3-1: type of a segment descriptor.
constexpr std::uint8_t type_code = 0xB;  // execute, read, accessed
constexpr std::uint8_t type_data = 0x3;  // read, write, accessed
constexpr std::uint8_t type_tss = 0xB;   // 64-bit TSS, busy

kvm_segment flat_segment(std::uint16_t selector, std::uint8_t type) {
    kvm_segment segment{};
    segment.selector = selector;
    segment.type = type;
    segment.limit = 0xFFFF'FFFF;
    segment.present = 1;
    segment.s = 1;
    segment.g = 1;
    segment.l = type == type_code ? 1 : 0;
    segment.db = type == type_code ? 0 : 1;
    return segment;
}

void fill_long_mode(kvm_sregs& state, const LongModeEntry& entry) {
    state.cs = flat_segment(entry.segments.code, type_code);
    state.ds = state.es = state.fs = state.gs = state.ss = flat_segment(entry.segments.data, type_data);
    // The processor wants a task register even before the image loads its own; nothing is behind this one.
    state.tr = {};
    state.tr.type = type_tss;
    state.tr.limit = 0x67;
    state.tr.present = 1;
    state.ldt = {};
    state.ldt.unusable = 1;
    state.gdt = {};
    state.gdt.base = entry.segments.table.value();
    state.gdt.limit = entry.segments.table_limit;
    state.idt = {};
    state.cr0 = cr0_pe | cr0_mp | cr0_et | cr0_ne | cr0_wp | cr0_pg;
    state.cr2 = 0;
    state.cr3 = entry.tables.value();
    state.cr4 = cr4_pae | cr4_osfxsr | cr4_osxmmexcpt | cr4_fsgsbase;
    state.cr8 = 0;
    state.efer = efer_lme | efer_lma | efer_nx;
}

}  // namespace

Result<> Vcpu::set_long_mode(const LongModeEntry& entry) {
    PENUMBRA_ASSERT(is_page_aligned(entry.tables), "page tables start on a page");
    kvm_sregs state{};
    if (ioctl_retry(fd_.get(), KVM_GET_SREGS, &state) < 0) return fail_errno("read the system registers of a vCPU");
    fill_long_mode(state, entry);
    int result = ioctl_retry(fd_.get(), KVM_SET_SREGS, &state);
    if (result < 0) {  // a processor without FSGSBASE refuses the bit
        state.cr4 &= ~cr4_fsgsbase;
        result = ioctl_retry(fd_.get(), KVM_SET_SREGS, &state);
    }
    if (result < 0) return fail_errno("put a vCPU into long mode");
    Registers registers{};
    registers.rip = entry.instruction.value();
    registers.rsp = entry.stack_top.value();
    registers.rdi = entry.rdi;
    registers.rsi = entry.rsi;
    return set_registers(registers);
}

// Every field that the entry's form names; what KVM's reset left elsewhere stays (CR0.NW and CD go: caches are on).
Result<> Vcpu::set_protected_mode(const ProtectedModeEntry& entry) {
    kvm_sregs state{};
    if (ioctl_retry(fd_.get(), KVM_GET_SREGS, &state) < 0) return fail_errno("read the system registers of a vCPU");
    const auto flat = [](std::uint8_t type) {
        kvm_segment segment = flat_segment(type == type_code ? 0x08 : 0x10, type);
        segment.l = 0;
        segment.db = 1;
        return segment;
    };
    state.cs = flat(type_code);
    state.ds = state.es = state.fs = state.gs = state.ss = flat(type_data);
    state.tr = {};
    state.tr.type = type_tss;
    state.tr.limit = 0x67;
    state.tr.present = 1;
    state.ldt = {};
    state.ldt.unusable = 1;
    state.gdt = {};
    state.idt = {};
    state.cr0 = cr0_pe | cr0_et;
    state.cr2 = state.cr3 = state.cr4 = state.cr8 = 0;
    state.efer = 0;
    if (ioctl_retry(fd_.get(), KVM_SET_SREGS, &state) < 0) return fail_errno("put a vCPU into protected mode");
    Registers registers{};
    registers.rip = entry.instruction.value();
    registers.rbx = entry.ebx;
    return set_registers(registers);
}

Result<> Vcpu::power_on() {
    PENUMBRA_ASSERT(power_on_.has_value(), "only a platform's vCPUs are put back to power-on");
    return power_on_->restore(fd_.get());
}

void Vcpu::tell_it_stood_still() {
    // EINVAL: this guest does not use the clock.
    (void)ioctl_retry(fd_.get(), KVM_KVMCLOCK_CTRL, 0);
}

Result<Registers> Vcpu::registers() const {
    kvm_regs r{};
    if (ioctl_retry(fd_.get(), KVM_GET_REGS, &r) < 0) return fail_errno("read the registers of a vCPU");
    return Registers{r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rsp, r.rbp, r.r8,
                     r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, r.rip, r.rflags};
}

Result<> Vcpu::set_registers(const Registers& s) {
    const kvm_regs r{.rax = s.rax,
                     .rbx = s.rbx,
                     .rcx = s.rcx,
                     .rdx = s.rdx,
                     .rsi = s.rsi,
                     .rdi = s.rdi,
                     .rsp = s.rsp,
                     .rbp = s.rbp,
                     .r8 = s.r8,
                     .r9 = s.r9,
                     .r10 = s.r10,
                     .r11 = s.r11,
                     .r12 = s.r12,
                     .r13 = s.r13,
                     .r14 = s.r14,
                     .r15 = s.r15,
                     .rip = s.rip,
                     .rflags = s.rflags};
    if (ioctl_retry(fd_.get(), KVM_SET_REGS, &r) < 0) return fail_errno("set the registers of a vCPU");
    return {};
}

}  // namespace penumbra::vmm
