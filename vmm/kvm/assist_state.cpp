// Those parts of Vcpu's state that finishing an instruction in KVM's stead takes: KVM's structures to ours and back.
#include <linux/kvm.h>

#include <algorithm>
#include <cstring>

#include "base/assert.hpp"
#include "vmm/kvm/ioctl.hpp"
#include "vmm/kvm/kvm_layout.hpp"
#include "vmm/kvm/vcpu.hpp"

namespace penumbra::vmm {

namespace {

SegmentRegister ours(const kvm_segment& s) {
    return {s.base,   s.limit,  s.selector, s.type,   s.dpl,      s.present != 0,
            s.s != 0, s.l != 0, s.db != 0,  s.g != 0, s.avl != 0, s.unusable != 0};
}

kvm_segment theirs(const SegmentRegister& s) {
    kvm_segment k{};
    k.base = s.base;
    k.limit = s.limit;
    k.selector = s.selector;
    k.type = s.type;
    k.dpl = s.dpl;
    k.present = s.present ? 1 : 0;
    k.s = s.code_or_data ? 1 : 0;
    k.l = s.long_mode ? 1 : 0;
    k.db = s.big ? 1 : 0;
    k.g = s.pages ? 1 : 0;
    k.avl = s.available ? 1 : 0;
    k.unusable = s.unusable ? 1 : 0;
    return k;
}

kvm_dtable theirs(const DescriptorTable& table) {
    kvm_dtable k{};
    k.base = table.base;
    k.limit = table.limit;
    return k;
}

/// The FXSAVE image that an XSAVE area begins with (SDM volume 1, 10.5.1); the XSAVE header follows it.
struct LegacyArea {
    std::uint16_t control, status;
    std::uint8_t tags, reserved;
    std::uint16_t opcode;
    std::uint64_t instruction, data;
    std::uint32_t mxcsr, mxcsr_mask;
    std::byte x87[8][16];
    std::byte xmm[16][16];
    std::byte unused[96];
};
static_assert(sizeof(LegacyArea) == 512);
constexpr std::uint64_t x87_component = 1, sse_component = 2;

Result<kvm_sregs> read_system(int fd) {
    kvm_sregs state{};
    if (ioctl_retry(fd, KVM_GET_SREGS, &state) < 0) return fail_errno("read the system registers of a vCPU");
    return state;
}

}  // namespace

Result<SystemRegisters> Vcpu::system_registers() const {
    PENUMBRA_TRY_ASSIGN(const kvm_sregs s, read_system(fd_.get()));
    SystemRegisters r;
    r.cs = ours(s.cs), r.ds = ours(s.ds), r.es = ours(s.es), r.fs = ours(s.fs), r.gs = ours(s.gs), r.ss = ours(s.ss);
    r.tr = ours(s.tr), r.ldt = ours(s.ldt);
    r.gdt = {s.gdt.base, s.gdt.limit}, r.idt = {s.idt.base, s.idt.limit};
    r.cr0 = s.cr0, r.cr2 = s.cr2, r.cr3 = s.cr3, r.cr4 = s.cr4, r.cr8 = s.cr8, r.efer = s.efer;
    return r;
}

Result<> Vcpu::set_system_registers(const SystemRegisters& r) {
    // The APIC base and a pending interrupt stay as they are.
    PENUMBRA_TRY_ASSIGN(kvm_sregs s, read_system(fd_.get()));
    s.cs = theirs(r.cs), s.ds = theirs(r.ds), s.es = theirs(r.es), s.fs = theirs(r.fs), s.gs = theirs(r.gs);
    s.ss = theirs(r.ss), s.tr = theirs(r.tr), s.ldt = theirs(r.ldt);
    s.gdt = theirs(r.gdt), s.idt = theirs(r.idt);
    s.cr0 = r.cr0, s.cr2 = r.cr2, s.cr3 = r.cr3, s.cr4 = r.cr4, s.cr8 = r.cr8, s.efer = r.efer;
    if (ioctl_retry(fd_.get(), KVM_SET_SREGS, &s) < 0) return fail_errno("set the system registers of a vCPU");
    return {};
}

// Through the extended state: KVM_GET_FPU and KVM_SET_FPU leave MXCSR out (arch/x86/kvm/x86.c).
Result<FloatRegisters> Vcpu::float_registers() const {
    PENUMBRA_TRY_ASSIGN(const std::vector<std::byte> state, extended_state());
    LegacyArea area;
    std::memcpy(&area, state.data(), sizeof(area));
    FloatRegisters r;
    for (std::size_t i = 0; i < r.x87.size(); ++i) std::ranges::copy(area.x87[i], r.x87[i].begin());
    for (std::size_t i = 0; i < r.xmm.size(); ++i) std::ranges::copy(area.xmm[i], r.xmm[i].begin());
    r.control = area.control, r.status = area.status, r.tags = area.tags, r.last_opcode = area.opcode;
    r.last_instruction = area.instruction, r.last_data = area.data, r.mxcsr = area.mxcsr;
    return r;
}

Result<> Vcpu::set_float_registers(const FloatRegisters& r) {
    PENUMBRA_TRY_ASSIGN(std::vector<std::byte> state, extended_state());
    LegacyArea area;
    std::memcpy(&area, state.data(), sizeof(area));
    for (std::size_t i = 0; i < r.x87.size(); ++i) std::ranges::copy(r.x87[i], std::begin(area.x87[i]));
    for (std::size_t i = 0; i < r.xmm.size(); ++i) std::ranges::copy(r.xmm[i], std::begin(area.xmm[i]));
    area.control = r.control, area.status = r.status, area.tags = r.tags, area.opcode = r.last_opcode;
    area.instruction = r.last_instruction, area.data = r.last_data, area.mxcsr = r.mxcsr;
    std::memcpy(state.data(), &area, sizeof(area));
    std::uint64_t components = 0;  // what is not named in XSTATE_BV takes its initial value (SDM volume 1, 13.4.2)
    std::memcpy(&components, state.data() + sizeof(area), sizeof(components));
    components |= x87_component | sse_component;
    std::memcpy(state.data() + sizeof(area), &components, sizeof(components));
    return set_extended_state(state);
}

Result<std::uint64_t> Vcpu::extended_features() const {
    kvm_xcrs x{};
    if (ioctl_retry(fd_.get(), KVM_GET_XCRS, &x) < 0 || x.nr_xcrs == 0) return std::uint64_t{0};
    return x.xcrs[0].value;
}

Result<> Vcpu::set_extended_features(std::uint64_t xcr0) {
    kvm_xcrs x{};
    x.nr_xcrs = 1;
    x.xcrs[0].value = xcr0;
    if (ioctl_retry(fd_.get(), KVM_SET_XCRS, &x) < 0) return fail_errno("set XCR0 of a vCPU");
    return {};
}

Result<std::vector<std::byte>> Vcpu::extended_state() const {
    std::vector<std::byte> state(kvm_layout::xsave_bytes);
    if (ioctl_retry(fd_.get(), kvm_layout::get_xsave, state.data()) < 0) {
        return fail_errno("read the extended state of a vCPU");
    }
    return state;
}

Result<> Vcpu::set_extended_state(std::span<const std::byte> state) {
    PENUMBRA_ASSERT(state.size() <= kvm_layout::xsave_bytes, "more extended state than a vCPU has");
    std::vector<std::byte> whole(kvm_layout::xsave_bytes);
    std::ranges::copy(state, whole.begin());
    if (ioctl_retry(fd_.get(), kvm_layout::set_xsave, whole.data()) < 0) {
        return fail_errno("set the extended state of a vCPU");
    }
    return {};
}

Result<> Vcpu::inject(const GuestException& exception) {
    kvm_vcpu_events events{};
    if (ioctl_retry(fd_.get(), KVM_GET_VCPU_EVENTS, &events) < 0) return fail_errno("read what a vCPU is about to do");
    events.exception = {};
    events.exception.injected = 1;
    events.exception.nr = exception.vector;
    events.exception.has_error_code = exception.error_code ? 1 : 0;
    events.exception.error_code = exception.error_code.value_or(0);
    events.exception_has_payload = 0;
    if (ioctl_retry(fd_.get(), KVM_SET_VCPU_EVENTS, &events) < 0) return fail_errno("inject an exception");
    return {};
}

}  // namespace penumbra::vmm
