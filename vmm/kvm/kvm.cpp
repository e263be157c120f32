#include "vmm/kvm/kvm.hpp"

#include <fcntl.h>
#include <linux/kvm.h>

#include <array>
#include <cerrno>
#include <memory>
#include <span>
#include <utility>

#include "vmm/kvm/ioctl.hpp"
#include "vmm/kvm/kvm_layout.hpp"

namespace penumbra::vmm {

namespace {

struct Need {
    int capability;
    const char* name;
};
constexpr std::array needs{
    Need{KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
    Need{KVM_CAP_SYNC_MMU, "KVM_CAP_SYNC_MMU"},
    Need{KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM"},
    Need{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
};

std::string cure_for_open(int error_number) {
    switch (error_number) {
        case ENOENT:
        case ENODEV:
        case ENXIO:
            return "load kvm_intel or kvm_amd, enable virtualization in the firmware, or pass the device into the "
                   "container";
        case EACCES:
        case EPERM:
            return "join the group that owns it (often kvm), or ask the administrator for access";
        default:
            return {};
    }
}

Result<CpuidLeaves> read_cpuid(int fd) {
    auto table = std::make_unique<kvm_layout::CpuidTable>();
    table->header.entries = static_cast<std::uint32_t>(table->entries.size());
    if (ioctl_retry(fd, kvm_layout::get_supported_cpuid, table.get()) < 0) {
        return fail_errno("read the CPUID leaves that KVM supports");
    }
    CpuidLeaves leaves;
    for (const kvm_cpuid_entry2& e : std::span(table->entries).first(table->header.entries)) {
        const bool by_index = (e.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) != 0;
        leaves.push_back({e.function, e.index, by_index, e.eax, e.ebx, e.ecx, e.edx});
    }
    return leaves;
}

Result<std::vector<std::uint32_t>> read_msr_list(int fd) {
    auto list = std::make_unique<kvm_layout::MsrList>();
    list->entries = static_cast<std::uint32_t>(list->indices.size());
    if (ioctl_retry(fd, kvm_layout::get_msr_list, list.get()) < 0) return fail_errno("list the registers of a vCPU");
    const auto known = std::span(list->indices).first(list->entries);
    return std::vector<std::uint32_t>(known.begin(), known.end());
}

}  // namespace

Result<Kvm> Kvm::open(const std::string& path) {
    Kvm kvm;
    kvm.fd_.reset(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (!kvm.fd_) return fail_errno("open", path, cure_for_open(errno));
    const int version = ioctl_retry(kvm.fd_.get(), KVM_GET_API_VERSION, 0);
    if (version < 0) return fail_errno("use as KVM", path, "name the real KVM device, usually /dev/kvm");
    if (version != KVM_API_VERSION) {
        return fail("use KVM API version " + std::to_string(version) + " of", path,
                    "run a kernel with KVM API version 12");
    }
    for (const Need& need : needs) {
        if (ioctl_retry(kvm.fd_.get(), KVM_CHECK_EXTENSION, need.capability) <= 0) {
            return fail("find " + std::string(need.name) + " in", path, "run a newer kernel");
        }
    }
    const int run_area = ioctl_retry(kvm.fd_.get(), KVM_GET_VCPU_MMAP_SIZE, 0);
    if (run_area < 0) return fail_errno("learn the size of a vCPU's run area from", path);
    kvm.run_area_bytes_ = static_cast<std::size_t>(run_area);
    PENUMBRA_TRY_ASSIGN(kvm.cpuid_, read_cpuid(kvm.fd_.get()));
    PENUMBRA_TRY_ASSIGN(kvm.msrs_, read_msr_list(kvm.fd_.get()));
    return kvm;
}

Result<UniqueFd> Kvm::create_vm() const {
    UniqueFd vm(ioctl_retry(fd_.get(), KVM_CREATE_VM, 0UL));
    if (!vm) return fail_errno("create a virtual machine", {}, errno == ENOMEM ? "free some memory" : "");
    return vm;
}

}  // namespace penumbra::vmm
