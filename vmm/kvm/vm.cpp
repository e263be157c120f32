#include "vmm/kvm/vm.hpp"

#include <linux/kvm.h>

#include <string>
#include <utility>

#include "vmm/kvm/ioctl.hpp"
#include "vmm/kvm/kvm_layout.hpp"

namespace penumbra::vmm {

namespace {

// The guest sees the host's processor, except for who it is.
std::vector<std::byte> cpuid_of_vcpu(std::vector<std::byte> bytes, std::uint32_t index) {
    auto* table = reinterpret_cast<kvm_layout::CpuidTable*>(bytes.data());
    for (std::size_t i = 0; i < table->header.entries; ++i) {
        kvm_cpuid_entry2& entry = table->entries[i];
        if (entry.function == 1) entry.ebx = (entry.ebx & 0x00FF'FFFFU) | (index << 24);
        if (entry.function == 0xB || entry.function == 0x1F) entry.edx = index;
    }
    return bytes;
}

Result<> set_slot(int fd, const kvm_userspace_memory_region& region, const char* act) {
    if (ioctl_retry(fd, KVM_SET_USER_MEMORY_REGION, &region) < 0) {
        return fail_errno(act, "memory slot " + std::to_string(region.slot));
    }
    return {};
}

}  // namespace

Result<Vm> Vm::create(const Kvm& kvm) {
    Vm vm;
    PENUMBRA_TRY_ASSIGN(vm.fd_, kvm.create_vm());
    vm.run_area_bytes_ = kvm.run_area_bytes();
    vm.cpuid_ = kvm.cpuid();
    // With it an instruction that KVM cannot interpret comes out with its bytes; without it, with none.
    if (ioctl_retry(vm.fd_.get(), KVM_CHECK_EXTENSION, KVM_CAP_EXIT_ON_EMULATION_FAILURE) > 0) {
        kvm_enable_cap capability{};
        capability.cap = KVM_CAP_EXIT_ON_EMULATION_FAILURE;
        capability.args[0] = 1;
        if (ioctl_retry(vm.fd_.get(), KVM_ENABLE_CAP, &capability) < 0) {
            return fail_errno("enable KVM_CAP_EXIT_ON_EMULATION_FAILURE");
        }
    }
    return vm;
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

Result<std::unique_ptr<Vcpu>> Vm::create_vcpu(std::uint32_t index) {
    UniqueFd fd(ioctl_retry(fd_.get(), KVM_CREATE_VCPU, static_cast<unsigned long>(index)));
    if (!fd) return fail_errno("create vCPU", std::to_string(index), "ask for fewer vCPUs");
    const std::vector<std::byte> cpuid = cpuid_of_vcpu(cpuid_, index);
    if (ioctl_retry(fd.get(), kvm_layout::set_cpuid, cpuid.data()) < 0) {
        return fail_errno("set the CPUID leaves of vCPU", std::to_string(index));
    }
    return Vcpu::create(std::move(fd), run_area_bytes_);
}

Result<std::uint64_t> Vm::tsc_khz() const {
    const int khz = ioctl_retry(fd_.get(), KVM_GET_TSC_KHZ, 0);
    if (khz < 0) return fail_errno("learn the guests' TSC frequency from KVM", {}, "run a kernel of 5.16 or newer");
    if (khz == 0) return fail("learn the guests' TSC frequency from KVM", {}, "use a host with a stable TSC");
    return static_cast<std::uint64_t>(khz);
}

}  // namespace penumbra::vmm
