#include "vmm/kvm/power_on.hpp"

#include <linux/kvm.h>

#include <algorithm>
#include <array>
#include <utility>

#include "vmm/kvm/ioctl.hpp"
#include "vmm/kvm/kvm_layout.hpp"
#include "vmm/kvm/msr.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::uint32_t msr_tsc = 0x10, msr_misc_enable = 0x1A0, msr_mtrr_default = 0x2FF;

// SDM volume 3, 12.11.2.1: memory types enabled, write-back where no range says otherwise. SDM volume 4,
// IA32_MISC_ENABLE: fast string operations. A PC's firmware leaves both so; Linux complains otherwise.
constexpr std::uint64_t mtrr_enabled_write_back = 1U << 11 | 6, fast_strings = 1;

/// Registers that are not state to put back: Hyper-V's act when written; the parts of asynchronous page faults are not
/// offered, and clearing them would forget a wake-up that a vCPU waits for; the TSC has its own rule below.
bool is_left_alone(std::uint32_t index) {
    constexpr std::array<std::uint32_t, 3> page_faults{0x4B56'4D02, 0x4B56'4D06, 0x4B56'4D07};
    return (index >= 0x4000'0000 && index <= 0x4000'01FF) || index == msr_tsc ||
           std::ranges::find(page_faults, index) != page_faults.end();
}

template <class T>
Result<> get(int fd, unsigned long request, T& target, const char* what) {
    if (ioctl_retry(fd, request, &target) < 0) return fail_errno("read a vCPU's power-on state:", what);
    return {};
}
template <class T>
Result<> set(int fd, unsigned long request, const T& source, const char* what) {
    T copy = source;
    if (ioctl_retry(fd, request, &copy) < 0) return fail_errno("put a vCPU back into its power-on state:", what);
    return {};
}

}  // namespace

struct PowerOnState::Parts {
    std::vector<msr::Value> msrs;
    kvm_sregs system{};
    kvm_regs registers{};
    kvm_debugregs debug{};
    kvm_vcpu_events events{};
    kvm_mp_state run_state{};
    kvm_lapic_state lapic{};
    kvm_layout::XsaveArea xsave{};
    kvm_xcrs extended_control{};
    bool has_extended_control = false;
};

PowerOnState::PowerOnState(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
PowerOnState::PowerOnState(PowerOnState&&) noexcept = default;
PowerOnState& PowerOnState::operator=(PowerOnState&&) noexcept = default;
PowerOnState::~PowerOnState() = default;

Result<PowerOnState> PowerOnState::prepare(int vcpu_fd, std::span<const std::uint32_t> msrs) {
    // A KVM that refuses one of these has no use for it.
    constexpr std::array firmware{msr::Value{msr_mtrr_default, mtrr_enabled_write_back},
                                  msr::Value{msr_misc_enable, fast_strings}};
    PENUMBRA_TRY(msr::write(vcpu_fd, firmware));

    auto parts = std::make_unique<Parts>();
    std::vector<std::uint32_t> wanted(msrs.begin(), msrs.end());
    wanted.push_back(msr_mtrr_default);
    std::erase_if(wanted, is_left_alone);
    PENUMBRA_TRY_ASSIGN(parts->msrs, msr::read(vcpu_fd, wanted));
    PENUMBRA_TRY(get(vcpu_fd, KVM_GET_SREGS, parts->system, "system registers"));
    PENUMBRA_TRY(get(vcpu_fd, KVM_GET_REGS, parts->registers, "registers"));
    PENUMBRA_TRY(get(vcpu_fd, KVM_GET_DEBUGREGS, parts->debug, "debug registers"));
    PENUMBRA_TRY(get(vcpu_fd, KVM_GET_VCPU_EVENTS, parts->events, "pending events"));
    PENUMBRA_TRY(get(vcpu_fd, KVM_GET_MP_STATE, parts->run_state, "run state"));
    PENUMBRA_TRY(get(vcpu_fd, KVM_GET_LAPIC, parts->lapic, "local APIC"));
    PENUMBRA_TRY(get(vcpu_fd, kvm_layout::get_xsave, parts->xsave, "floating point state"));
    // Absent where the host has no XSAVE.
    parts->has_extended_control = ioctl_retry(vcpu_fd, KVM_GET_XCRS, &parts->extended_control) >= 0;
    return PowerOnState(std::move(parts));
}

Result<> PowerOnState::restore(int vcpu_fd) const {
    const Parts& parts = *parts_;
    // First those by which KVM writes to guest memory on its own: all are zero at power-on. Values that are right
    // already are not set again: some registers refuse any write once the vCPU has run.
    std::vector<std::uint32_t> indices;
    for (const msr::Value& value : parts.msrs) indices.push_back(value.index);
    PENUMBRA_TRY_ASSIGN(const std::vector<msr::Value> now, msr::read(vcpu_fd, indices));
    std::vector<msr::Value> different;
    for (const msr::Value& value : parts.msrs) {
        if (std::ranges::find(now, value) == now.end()) different.push_back(value);
    }
    // Zero joins the other vCPUs' time, which goes on (kernel, kvm_synchronize_tsc()).
    different.push_back({msr_tsc, 0});
    PENUMBRA_TRY(msr::write(vcpu_fd, different));
    PENUMBRA_TRY(set(vcpu_fd, KVM_SET_SREGS, parts.system, "system registers"));
    PENUMBRA_TRY(set(vcpu_fd, KVM_SET_LAPIC, parts.lapic, "local APIC"));
    if (parts.has_extended_control) {
        PENUMBRA_TRY(set(vcpu_fd, KVM_SET_XCRS, parts.extended_control, "extended control registers"));
    }
    PENUMBRA_TRY(set(vcpu_fd, kvm_layout::set_xsave, parts.xsave, "floating point state"));
    PENUMBRA_TRY(set(vcpu_fd, KVM_SET_DEBUGREGS, parts.debug, "debug registers"));
    PENUMBRA_TRY(set(vcpu_fd, KVM_SET_VCPU_EVENTS, parts.events, "pending events"));
    PENUMBRA_TRY(set(vcpu_fd, KVM_SET_REGS, parts.registers, "registers"));
    return set(vcpu_fd, KVM_SET_MP_STATE, parts.run_state, "run state");
}

}  // namespace penumbra::vmm
