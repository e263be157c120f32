#include "vmm/kvm/vm.hpp"

#include <linux/kvm.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/assert.hpp"
#include "vmm/kvm/ioctl.hpp"
#include "vmm/kvm/kvm_layout.hpp"
#include "vmm/kvm/power_on.hpp"

namespace penumbra::vmm {

namespace {

// Behind the flash that PCs end with: pages that VMX needs of a guest's address space (kernel, Documentation/virt/kvm/
// api.rst, KVM_SET_TSS_ADDR, KVM_SET_IDENTITY_MAP_ADDR). Nothing else of the platform lies there.
constexpr std::uint64_t identity_map_address = 0xFFFB'C000;
constexpr std::uint64_t tss_address = 0xFFFB'D000;

Result<> enable(int fd, std::uint32_t capability, std::uint64_t argument, const char* name) {
    kvm_enable_cap request{};
    request.cap = capability;
    request.args[0] = argument;
    if (ioctl_retry(fd, KVM_ENABLE_CAP, &request) < 0) return fail_errno("enable", name);
    return {};
}

Result<> set_cpuid(int fd, const CpuidLeaves& leaves, std::uint32_t cpu) {
    auto table = std::make_unique<kvm_layout::CpuidTable>();
    PENUMBRA_ASSERT(leaves.size() <= table->entries.size(), "more CPUID leaves than KVM takes");
    table->header.entries = static_cast<std::uint32_t>(leaves.size());
    for (std::size_t i = 0; i < leaves.size(); ++i) {
        const CpuidLeaf& leaf = leaves[i];
        kvm_cpuid_entry2& entry = table->entries[i];
        entry.function = leaf.function;
        entry.index = leaf.index;
        entry.flags = leaf.by_index ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0U;
        entry.eax = leaf.eax;
        entry.ebx = leaf.ebx;
        entry.ecx = leaf.ecx;
        entry.edx = leaf.edx;
    }
    if (ioctl_retry(fd, kvm_layout::set_cpuid, table.get()) < 0) {
        return fail_errno("set the CPUID leaves of vCPU", std::to_string(cpu));
    }
    return {};
}

Result<> set_slot(int fd, const kvm_userspace_memory_region& region, const char* act) {
    if (ioctl_retry(fd, KVM_SET_USER_MEMORY_REGION, &region) < 0) {
        return fail_errno(act, "memory slot " + std::to_string(region.slot));
    }
    return {};
}

}  // namespace

int Vm::check(int capability) const { return std::max(0, ioctl_retry(fd_.get(), KVM_CHECK_EXTENSION, capability)); }

Result<Vm> Vm::create(const Kvm& kvm, VmOptions options) {
    Vm vm(kvm, options);
    PENUMBRA_TRY_ASSIGN(vm.fd_, kvm.create_vm());
    // With it an instruction that KVM cannot interpret comes out with its bytes; without it, with none.
    if (vm.check(KVM_CAP_EXIT_ON_EMULATION_FAILURE) > 0) {
        PENUMBRA_TRY(enable(vm.fd(), KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1, "KVM_CAP_EXIT_ON_EMULATION_FAILURE"));
    }
    if (options.form == VmForm::platform) PENUMBRA_TRY(vm.become_platform());
    return vm;
}

// Before any vCPU exists.
Result<> Vm::become_platform() {
    for (const int capability : {KVM_CAP_IRQCHIP, KVM_CAP_PIT2, KVM_CAP_SIGNAL_MSI, KVM_CAP_IOEVENTFD}) {
        if (check(capability) == 0) {
            return fail("run Linux: KVM lacks capability " + std::to_string(capability), {},
                        "run a kernel whose KVM has interrupt controllers (KVM_CAP_IRQCHIP, PIT2, SIGNAL_MSI, "
                        "IOEVENTFD)");
        }
    }
    const int most = std::max(check(KVM_CAP_MAX_VCPUS), check(KVM_CAP_NR_VCPUS));
    if (most > 0 && options_.cpus > static_cast<unsigned>(most)) {
        return fail("create " + std::to_string(options_.cpus) + " vCPUs", {},
                    "this KVM has at most " + std::to_string(most));
    }
    std::uint64_t identity_map = identity_map_address;
    if (ioctl_retry(fd(), KVM_SET_IDENTITY_MAP_ADDR, &identity_map) < 0 ||
        ioctl_retry(fd(), KVM_SET_TSS_ADDR, static_cast<unsigned long>(tss_address)) < 0) {
        return fail_errno("give KVM its pages of the guest's address space");
    }
    if ((check(KVM_CAP_PMU_CAPABILITY) & KVM_PMU_CAP_DISABLE) != 0) {
        PENUMBRA_TRY(enable(fd(), KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_DISABLE, "KVM_CAP_PMU_CAPABILITY"));
    }
    if (ioctl_retry(fd(), KVM_CREATE_IRQCHIP, 0) < 0) return fail_errno("create the interrupt controllers");
    kvm_pit_config pit{};
    pit.flags = KVM_PIT_SPEAKER_DUMMY;  // KVM answers port 0x61 too
    if (ioctl_retry(fd(), KVM_CREATE_PIT2, &pit) < 0) return fail_errno("create the interval timer");
    return {};
}

Result<> Vm::set_memory_region(SlotNumber slot, GfnRange range, Hvp first, SlotAccess access) {
    PENUMBRA_ASSERT(!range.empty(), "a memory slot holds at least one page");
    kvm_userspace_memory_region region{};
    region.slot = static_cast<std::uint32_t>(slot);
    region.flags = access == SlotAccess::read_only ? KVM_MEM_READONLY : 0U;
    region.guest_phys_addr = address_of(range.first()).value();
    region.memory_size = range.bytes();
    region.userspace_addr = address_of(first).value();
    return set_slot(fd_.get(), region, "set");
}

CpuidLeaves Vm::cpuid_of(std::uint32_t index) const {
    if (options_.form == VmForm::bare) return bare_cpuid(cpuid_, index);
    const bool has_timer = check(KVM_CAP_TSC_DEADLINE_TIMER) > 0;
    return platform_cpuid(cpuid_, {index, options_.cpus}, has_timer ? DeadlineTimer::present : DeadlineTimer::absent);
}

Result<std::unique_ptr<Vcpu>> Vm::create_vcpu(std::uint32_t index) {
    PENUMBRA_ASSERT(options_.form == VmForm::bare || index < options_.cpus, "a vCPU nobody counted");
    UniqueFd fd(ioctl_retry(fd_.get(), KVM_CREATE_VCPU, static_cast<unsigned long>(index)));
    if (!fd) return fail_errno("create vCPU", std::to_string(index), "ask for fewer vCPUs");
    PENUMBRA_TRY(set_cpuid(fd.get(), cpuid_of(index), index));
    std::optional<PowerOnState> power_on;
    if (options_.form == VmForm::platform) {
        // What CPUID leaves out is then not to be had by asking for it all the same.
        if (check(KVM_CAP_ENFORCE_PV_FEATURE_CPUID) > 0) {
            PENUMBRA_TRY(enable(fd.get(), KVM_CAP_ENFORCE_PV_FEATURE_CPUID, 1, "KVM_CAP_ENFORCE_PV_FEATURE_CPUID"));
        }
        PENUMBRA_TRY_ASSIGN(power_on, PowerOnState::prepare(fd.get(), msrs_));
    }
    return Vcpu::create(std::move(fd), run_area_bytes_, std::move(power_on));
}

Result<std::uint64_t> Vm::tsc_khz() const {
    const int khz = ioctl_retry(fd_.get(), KVM_GET_TSC_KHZ, 0);
    if (khz < 0) return fail_errno("learn the guests' TSC frequency from KVM", {}, "run a kernel of 5.16 or newer");
    if (khz == 0) return fail("learn the guests' TSC frequency from KVM", {}, "use a host with a stable TSC");
    return static_cast<std::uint64_t>(khz);
}

}  // namespace penumbra::vmm
